"""Collections: what they take, in which order, and that nothing is lost to whoever comes meanwhile."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from dataclasses import dataclass

from hypothesis import given, settings, strategies as st

from squall.blobs.collect import collect
from squall.blobs.digest import Digest, digest_of
from squall.blobs.manifest import ROOT, Attributes, Directory, File as Kept, Manifest, Part
from squall.blobs.manifest_bytes import encode
from squall.blobs.memory_blobs import MemoryBlobs
from squall.blobs.naming import Names
from squall.blobs.sweep import Lease, collect_plan, cutoff
from tests.local_trees import local_tree

LEAVES = [bytes([number]) * (number + 1) for number in range(6)]

instants = st.floats(0, 1000)
leases = st.lists(
    st.builds(lambda since_s, until_s: Lease(since_s=since_s, until_s=until_s), instants, instants),
    max_size=4,
)


def manifest_bytes(chunks: Iterable[bytes]) -> bytes:
    """A manifest of files that are these chunks."""
    plain = Attributes(mode=0o644, xattrs=(("user.not-a-chunk", bytes(32)),))
    files = [
        Kept(
            path=f"f{number}",
            attributes=plain,
            size=len(data),
            parts=(Part(chunk=digest_of(data), offset=0, length=len(data)),),
        )
        for number, data in enumerate(chunks)
    ]
    return encode(Manifest((Directory(path=ROOT, attributes=plain), *files)))


@dataclass(frozen=True)
class World:
    """Blobs by what they are, and what each names; ages: when each was stored."""

    data: dict[Digest, bytes]
    names: dict[Digest, frozenset[Digest]]
    ages: dict[Digest, float]

    def plain(self) -> dict[Digest, tuple[float, frozenset[Digest]]]:
        return {digest: (self.ages[digest], self.names[digest]) for digest in self.data}

    def reached(self, roots: Iterable[Digest]) -> set[Digest]:
        reached: set[Digest] = set()
        coming = [root for root in roots if root in self.data]
        while coming:
            one = coming.pop()
            reached.add(one)
            coming += [named for named in self.names[one] if named in self.data and named not in reached]
        return reached


@st.composite
def worlds(draw: st.DrawFn) -> World:
    data: dict[Digest, bytes] = {digest_of(leaf): leaf for leaf in LEAVES}
    names: dict[Digest, frozenset[Digest]] = dict.fromkeys(data, frozenset[Digest]())
    for _ in range(draw(st.integers(0, 6))):
        # A file may be a manifest itself, so that manifests name manifests.
        inside = draw(st.lists(st.sampled_from(sorted(data)), max_size=4))
        made = manifest_bytes(data[one] for one in inside)
        names[digest_of(made)] = frozenset(inside)
        data[digest_of(made)] = made
    present = draw(st.frozensets(st.sampled_from(sorted(data))))
    data = {digest: made for digest, made in data.items() if digest in present}
    return World(data, names, {digest: draw(instants) for digest in data})


@given(worlds(), st.data())
def test_a_plan_takes_all_that_nothing_holds_and_nothing_else(world: World, data: st.DataObject) -> None:
    roots = data.draw(st.frozensets(st.sampled_from(sorted(world.names))))
    before_s = data.draw(instants)
    turns = collect_plan(world.plain(), roots=roots, before_s=before_s)
    going = frozenset[Digest]().union(*turns)
    assert sum(map(len, turns)) == len(going)
    young = {digest for digest, stored_s in world.ages.items() if stored_s >= before_s}
    assert world.data.keys() - going == world.reached(roots | young)


@given(worlds(), instants)
def test_what_names_goes_before_what_it_names(world: World, before_s: float) -> None:
    turns = collect_plan(world.plain(), roots=(), before_s=before_s)
    turn_of = {digest: number for number, turn in enumerate(turns) for digest in turn}
    for one, turn in turn_of.items():
        for named in world.names[one]:
            assert named not in turn_of or turn_of[named] > turn


@given(instants, instants, leases)
def test_the_cutoff_spares_the_grace_and_every_lease_that_counts(
    now_s: float, grace_s: float, held: list[Lease]
) -> None:
    before_s = cutoff(now_s=now_s, grace_s=grace_s, leases=held)
    assert before_s <= now_s - grace_s
    assert all(before_s <= lease.since_s for lease in held if lease.until_s > now_s)
    assert before_s == now_s - grace_s or any(before_s == lease.since_s for lease in held)


@given(worlds(), st.integers(1, 200))
def test_a_blob_names_what_it_was_made_of_however_its_bytes_are_cut(world: World, step: int) -> None:
    for digest, made in world.data.items():
        names, found = Names(), []
        for at in range(0, len(made), step):
            found += list(names.feed(made[at : at + step]))
        assert set(found) == world.names[digest]


def test_what_only_looks_like_a_mention_is_none() -> None:
    wrong = digest_of(b"never a chunk")
    plain = Attributes(mode=0o644, xattrs=((f"user.{wrong}", bytes.fromhex(wrong)),))
    paths = sorted([wrong, f'["{wrong}",1,1]', f',1,"{wrong}"]', f'",1,"{wrong}"]'])
    manifest = Manifest(
        (
            Directory(path=ROOT, attributes=plain),
            *(Kept(path=path, attributes=plain) for path in paths),
        )
    )
    assert list(Names().feed(encode(manifest))) == []
    tree = local_tree(dict.fromkeys(paths, b"1"))
    assert list(Names().feed(encode(tree))) == [digest_of(b"1")]
    assert list(Names().feed(json.dumps(["squall-manifest", 1, [[wrong, 0, 1]]]).encode())) == []


@settings(max_examples=60)
@given(worlds(), st.data())
def test_a_collection_does_what_the_plan_says(world: World, data: st.DataObject) -> None:
    roots = data.draw(st.frozensets(st.sampled_from(sorted(world.names))))
    before_s = data.draw(instants)

    async def scene() -> None:
        store, now = await stored(world)
        now[0] = 2000.0

        async def asked() -> frozenset[Digest]:
            return roots

        told = await collect(store, asked, before_s=before_s)
        going = frozenset[Digest]().union(*collect_plan(world.plain(), roots=roots, before_s=before_s))
        left = {info.digest async for info in store.blobs()}
        assert left == world.data.keys() - going
        assert (told.blobs, told.freed) == (len(going), sum(len(world.data[one]) for one in going))

    asyncio.run(scene())


async def stored(world: World) -> tuple[MemoryBlobs, list[float]]:
    now = [0.0]
    store = MemoryBlobs(clock=lambda: now[0])
    for digest, made in world.data.items():
        now[0] = world.ages[digest]
        await store.put(made)
    return store, now


@settings(max_examples=200)
@given(worlds(), st.data())
def test_whoever_comes_during_a_collection_loses_nothing(world: World, data: st.DataObject) -> None:
    """Clients ask for a tree as `squall.sdk.ship` does, send what is missing, and refer to it: then all of it is here."""
    wanted = data.draw(st.lists(st.sampled_from(sorted(world.names)), max_size=4))
    waits = data.draw(st.lists(st.integers(0, 4), min_size=24, max_size=24))
    whole = {digest_of(leaf): leaf for leaf in LEAVES} | world.data

    async def scene() -> None:
        store, now = await stored(World(world.data, world.names, dict.fromkeys(world.data, 0.0)))
        now[0] = 1000.0
        roots: set[Digest] = set()
        turns = iter(waits)

        async def pause() -> None:
            for _ in range(next(turns, 0)):
                await asyncio.sleep(0)

        async def ship(digest: Digest) -> None:
            await pause()
            if await store.has_many([digest], renew=True):
                await pause()
                roots.add(digest)
                return
            for named in sorted(world.names[digest]):
                # A file is sent as it is: what it names, as a manifest of its own, is no part of this one.
                if named in whole and not await store.has_many([named], renew=True):
                    await pause()
                    await store.put(whole[named])
                    sent.add(named)
            if digest in whole and world.names[digest] <= whole.keys():
                await pause()
                await store.put(whole[digest])
                await pause()
                roots.add(digest)

        async def asked() -> frozenset[Digest]:
            return frozenset(roots)

        before = {one: world.reached([one]) for one in world.data}
        sent: set[Digest] = set()
        collecting = asyncio.ensure_future(collect(store, asked, before_s=1000.0))
        for digest in wanted:
            await ship(digest)
        await collecting
        left = {info.digest async for info in store.blobs()}
        for root in roots:
            assert root in left
            # Of a tree that was here, all that was here of it; of one that was sent, all of it.
            held = before.get(root, set()) if root not in sent else set()
            assert {named for named in world.names[root] if named in held or root not in world.data} <= left

    asyncio.run(scene())
