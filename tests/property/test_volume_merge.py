"""Merging what several writers made of a directory: the last write wins at each path, and disjoint ones lose nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from hypothesis import given, settings, strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from squall.blobs.digest import digest_of
from squall.blobs.manifest import (
    ROOT,
    Attributes,
    Directory,
    Entry,
    File,
    Inode,
    Manifest,
    Part,
    Symlink,
    key,
)
from squall.blobs.merge import doubts, merge
from squall.blobs.stack import diff, stack
from tests.property.manifests import directories
from tests.property.test_stack import inodes

Tree = Mapping[str, str]
"""A volume on paper: what is at each path, "/" for a directory, "@..." for a link, else the bytes of a file."""

PLAIN = Attributes(mode=0o755)
names = st.sampled_from(["a", "b", "c"])
paths = st.lists(names, min_size=1, max_size=3).map("/".join)
contents = st.sampled_from(["1", "22", "333", "@a", "@../x"])


def as_manifest(tree: Tree) -> Manifest:
    entries: list[Entry] = [Directory(path=ROOT, attributes=PLAIN)]
    for path, what in tree.items():
        if what == "/":
            entries.append(Directory(path=path, attributes=PLAIN))
        elif what.startswith("@"):
            entries.append(Symlink(path=path, attributes=Attributes(mode=0o777), target=what[1:]))
        else:
            part = Part(chunk=digest_of(what.encode()), offset=0, length=len(what))
            entries.append(File(path=path, attributes=PLAIN, size=len(what), parts=(part,)))
    return Manifest(tuple(sorted(entries, key=key)))


def as_tree(manifest: Manifest) -> dict[str, str]:
    contents_of = {digest_of(text.encode()): text for text in ("1", "22", "333")}
    found: dict[str, str] = {}
    for entry in manifest.entries[1:]:
        match entry:
            case Directory():
                found[entry.path] = "/"
            case Symlink():
                found[entry.path] = f"@{entry.target}"
            case File():
                found[entry.path] = contents_of[entry.parts[0].chunk]
            case _:
                raise AssertionError(entry)
    return found


def remove(tree: dict[str, str], path: str) -> None:
    for one in [one for one in tree if one == path or one.startswith(f"{path}/")]:
        del tree[one]


def put(tree: dict[str, str], path: str, what: str) -> None:
    """As a program would that wants it there at any price."""
    above = path.rpartition("/")[0]
    if above and tree.get(above) != "/":
        put(tree, above, "/")
    if tree.get(path) != "/" or what != "/":
        remove(tree, path)
    tree[path] = what


def done_again(before: Tree, after: Tree, head: Tree) -> dict[str, str]:
    """What a person would do by hand to bring the changes of one writer into what others have made."""
    result = dict(head)
    gone = sorted(set(before) - set(after), key=lambda path: -path.count("/"))
    for path in gone:
        if result.get(path, "/") != "/":
            del result[path]
    for path in sorted(after, key=lambda path: path.count("/")):
        if before.get(path) != after[path]:
            put(result, path, after[path])
    for path in gone:
        if result.get(path) == "/" and not any(one.startswith(f"{path}/") for one in result):
            del result[path]
    return result


@dataclass
class Writer:
    """Somebody who has a version of the volume open. before: as it was then; now: with what was written since."""

    before: dict[str, str]
    now: dict[str, str]
    wrote: set[str] = field(default_factory=set)


class VolumeMachine(RuleBasedStateMachine):
    """Several writers who open, write, remove and commit, beside the same on paper."""

    writers = Bundle("writers")

    def __init__(self) -> None:
        super().__init__()
        self.head = as_manifest({})
        self.paper: dict[str, str] = {}

    @rule(target=writers)
    def open(self) -> Writer:
        return Writer(before=dict(self.paper), now=dict(self.paper))

    @rule(writer=writers, path=paths, what=st.one_of(contents, st.just("/")))
    def write(self, writer: Writer, path: str, what: str) -> None:
        put(writer.now, path, what)

    @rule(writer=writers, path=paths)
    def remove(self, writer: Writer, path: str) -> None:
        remove(writer.now, path)

    @rule(writer=writers, path=paths, what=contents)
    def replace_directory(self, writer: Writer, path: str, what: str) -> None:
        """As `rm -rf` and `mkdir` do: an overlay calls it opaque."""
        remove(writer.now, path)
        put(writer.now, path, "/")
        put(writer.now, f"{path}/z", what)

    @rule(writer=writers, again=st.booleans())
    def commit(self, writer: Writer, again: bool) -> None:
        before, after = as_manifest(writer.before), as_manifest(writer.now)
        # As it travels: a layer over what the writer began with.
        assert stack(before, diff(before, after)) == after
        self.head = merge(before, after, self.head)
        self.paper = done_again(writer.before, writer.now, self.paper)
        if again:
            assert merge(before, after, self.head) == self.head
        writer.before = dict(writer.now)

    @rule(writer=writers)
    def reload(self, writer: Writer) -> None:
        writer.before, writer.now = dict(self.paper), dict(self.paper)

    @invariant()
    def the_volume_is_as_on_paper(self) -> None:
        assert as_tree(self.head) == self.paper


def test_any_commits_of_several_writers_leave_what_doing_them_by_hand_would() -> None:
    run_state_machine_as_test(
        VolumeMachine, settings=settings(max_examples=200, stateful_step_count=30, deadline=None)
    )


def without_times(manifest: Manifest) -> Manifest:
    """Of directories: when they changed last follows what is in them."""
    return Manifest(
        tuple(
            replace(entry, attributes=replace(entry.attributes, mtime_ns=0))
            if isinstance(entry, Directory)
            else entry
            for entry in manifest.entries
        )
    )


@given(directories, directories)
@settings(deadline=None, max_examples=300)
def test_what_a_lone_writer_made_is_what_there_is(before: Manifest, after: Manifest) -> None:
    assert without_times(merge(before, after, before)) == without_times(after)


@given(directories, directories)
@settings(deadline=None)
def test_who_changed_nothing_leaves_what_others_made(before: Manifest, head: Manifest) -> None:
    assert merge(before, before, head) == head


@given(directories, directories, directories)
@settings(deadline=None, max_examples=500)
def test_each_path_is_as_the_writer_left_it_or_as_it_was(
    before: Manifest, after: Manifest, head: Manifest
) -> None:
    merged = merge(before, after, head)
    assert merged.whole
    old, new, had, has = (inodes(one) for one in (before, after, head, merged))
    for path, entry in has.items():
        # A file that lost its first name goes under another one: what it is stays.
        known = [replace(one[path], path="") for one in (new, had) if path in one]
        assert any(alike(replace(entry, path=""), one) for one in known), path
    for path in new:
        if path not in old or not alike(old[path], new[path]):
            assert alike(has[path], new[path]), path
    for path in had:
        lies_in = [path[: len(path) - len(rest)] for rest in (path, *parts_after(path))]
        touched = any(one in new and not isinstance(new[one], Directory) for one in lies_in)
        if path not in old and path not in new and not touched:
            assert alike(has[path], had[path]), path


def parts_after(path: str) -> list[str]:
    """What follows each directory along the path."""
    found = path.split("/")
    return ["/" + "/".join(found[count:]) for count in range(1, len(found))]


def alike(one: Entry, other: Entry) -> bool:
    """Whether two entries show the same, whenever a directory was changed last and whatever their first names are."""
    if isinstance(one, Directory) and isinstance(other, Directory):
        return replace(one.attributes, mtime_ns=0) == replace(other.attributes, mtime_ns=0)
    assert isinstance(one, Inode | Directory)
    assert isinstance(other, Inode | Directory)
    return replace(one, path="") == replace(other, path="")


def small(path: str, offset: int, mtime_ns: int = 0) -> File:
    part = Part(chunk=digest_of(b"shared"), offset=offset, length=3)
    return File(path=path, attributes=Attributes(mode=0o644, mtime_ns=mtime_ns), size=3, parts=(part,))


def test_a_file_that_only_lies_elsewhere_is_a_doubt_and_stays_as_others_wrote_it() -> None:
    root = Directory(path=ROOT, attributes=PLAIN)
    before, after = Manifest((root, small("a", 0))), Manifest((root, small("a", 9), small("b", 3)))
    head = Manifest((root, small("a", 20, mtime_ns=5)))
    assert [doubt.path for doubt in doubts(before, after)] == ["a"]
    assert merge(before, after, head, same={"a"}) == Manifest(
        (root, small("a", 20, mtime_ns=5), small("b", 3))
    )
    assert merge(before, after, head) == after
