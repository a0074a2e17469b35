"""The vault: what is sealed opens as what it is and as nothing else, and survives a change of the master key at every step."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from squall.model.errors import (
    AlreadyExistsError,
    Error,
    InvalidError,
    MasterKeyUnusable,
    SecretNotFound,
    SecretUnreadable,
    SecretVariableMissing,
)
from squall.model.function import Code, Function
from squall.model.ids import SECRET, AppId, FunctionId, SecretId, make_id
from squall.model.secret import KEPT_VERSIONS, SecretUse
from squall.server import sealing, vault as module
from squall.server.master_keys import MasterKeys
from squall.server.vault import Vault
from squall.state.memory_state import MemoryState
from squall.state.secret_records import Rewrapped

APP = AppId("ap-1")
PLACE = ("main", "db")
_numbers = iter(range(1, 1_000_000))


def fresh() -> SecretId:
    return SecretId(make_id(SECRET, now_ms=next(_numbers), randomness=os.urandom(10)))


def function(*uses: SecretUse, app: AppId = APP) -> Function:
    return Function(
        id=FunctionId(f"{app}/f"), app=app, name="f", code=Code(module="m", qualname="f"), secrets=uses
    )


DB = SecretUse(name="db", environment="main")


async def vault(state: MemoryState, path: Path) -> Vault:
    made = Vault(state, MasterKeys(path / "master"))
    await made.load()
    return made


def run(work: Callable[[], Awaitable[None]]) -> None:
    async def all_of_it() -> None:
        await work()

    asyncio.run(all_of_it())


async def put(one: Vault, values: Mapping[str, Any], how: str = "new") -> None:
    await one.put(PLACE, values, how=how, version=fresh())


def test_values_come_back_and_stand_nowhere_on_record(tmp_path: Path) -> None:
    async def work() -> None:
        state = MemoryState()
        one = await vault(state, tmp_path)
        one.take(APP, {"1": {"B": "inline-canary"}})
        await put(one, {"A": "named-canary"})
        used = one.used_by(function(SecretUse(key="1"), DB))
        await one.keep(APP, "main")
        assert one.values_for(used) == {"A": "named-canary", "B": "inline-canary"}
        assert [use.variables for use in used.secrets] == [("B",), ("A",)]
        assert "canary" not in str([(row, row.sealed, row.wrapped) for row in await state.secrets()])
        again = await vault(state, tmp_path)
        assert again.values_for(used) == {"A": "named-canary", "B": "inline-canary"}
        hidden = again.redactor(APP)
        assert hidden is not None
        assert hidden.text("named-canary inline-canary") == "**** ****"

    run(work)
    assert (tmp_path / "master").stat().st_mode & 0o777 == 0o600


def test_versions_follow_each_other_and_one_sent_again_is_one(tmp_path: Path) -> None:
    async def work() -> None:
        state = MemoryState()
        one = await vault(state, tmp_path)
        version = fresh()
        for _ in range(2):
            made = await one.put(PLACE, {"A": "value-one"}, how="new", version=version)
            assert made.number == 1
        with pytest.raises(AlreadyExistsError):
            await put(one, {"A": "x"})
        await put(one, {"B": "value-two"}, "merge")
        assert one.values_for(function(DB)) == {"A": "value-one", "B": "value-two"}
        await put(one, {"C": "value-three"}, "replace")
        assert one.values_for(function(DB)) == {"C": "value-three"}
        for number in range(10):
            await put(one, {"C": f"value-of-{number}"}, "replace")
        rows = await state.secrets()
        assert [row.number for row in rows] == list(range(14 - KEPT_VERSIONS, 14))
        assert [row.number for row in one.rows()] == [13]

    run(work)


def test_what_a_container_may_still_have_is_hidden_after_a_change_and_after_it_is_deleted(
    tmp_path: Path,
) -> None:
    async def work() -> None:
        one = await vault(MemoryState(), tmp_path)
        await put(one, {"A": "value-one"})
        one.used_by(function(DB))
        await put(one, {"A": "value-two"}, "replace")
        hidden = one.redactor(APP)
        assert hidden is not None
        assert hidden.text("value-one value-two") == "**** ****"
        await one.delete(PLACE)
        hidden = one.redactor(APP)
        assert hidden is not None
        assert hidden.text("value-one value-two") == "**** ****"
        assert one.redactor(AppId("ap-2")) is None

    run(work)


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    async def work() -> None:
        one = await vault(MemoryState(), tmp_path)
        with pytest.raises(SecretNotFound, match="no secret 'db' in the environment main; there is: none"):
            one.check(function(DB))
        await put(one, {"A": "x"})
        with pytest.raises(SecretVariableMissing, match="has no variable B, C; it has: A") as missing:
            one.check(function(replace(DB, required=("C", "A", "B"))))
        assert missing.value.missing == ["B", "C"]
        with pytest.raises(SecretNotFound, match="in main there is one of that name"):
            one.check(function(replace(DB, environment="dev")))
        with pytest.raises(SecretNotFound, match="came with the app"):
            one.check(function(SecretUse(key="7")))
        with pytest.raises(SecretNotFound):
            await one.delete(("dev", "db"))
        for wrong in (
            {},
            {"A": 7},
            {"1": "x"},
            {"SQUALL_X": "y"},
            {"A": "a\0b"},
            {"A": "\ud800"},
            {"A": "x" * 100_001},
        ):
            with pytest.raises(InvalidError) as refused:
                await put(one, wrong, "replace")
            assert "xxx" not in str(refused.value)

    run(work)


def test_a_row_opens_as_nothing_else(tmp_path: Path) -> None:
    async def work() -> None:
        state = MemoryState()
        one = await vault(state, tmp_path)
        await put(one, {"A": "value-one"})
        (row,) = await state.secrets()
        for changed in (
            replace(row, environment="dev"),
            replace(row, name="other"),
            replace(row, number=2),
            replace(row, id=fresh()),
            replace(row, sealed=row.sealed[:-1] + bytes([row.sealed[-1] ^ 1])),
            replace(row, wrapped=row.wrapped[:-1] + bytes([row.wrapped[-1] ^ 1])),
            replace(row, sealed=b""),
        ):
            planted = MemoryState()
            await planted.record_secret(changed, keep=5)
            found = await vault(planted, tmp_path)
            use = SecretUse(name=changed.name, environment=changed.environment)
            with pytest.raises(SecretUnreadable):
                found.values_for(function(use))

    run(work)


@given(st.binary(max_size=200), st.binary(max_size=30), st.integers(0, 10_000), st.integers(1, 255))
def test_no_byte_of_what_is_sealed_may_change(values: bytes, belongs: bytes, place: int, flip: int) -> None:
    master = os.urandom(32)
    sealed, wrapped = sealing.seal(values, master, belongs)
    assert sealing.open_sealed(sealed, wrapped, master, belongs) == values
    whole = bytearray(sealed + wrapped)
    whole[place % len(whole)] ^= flip
    parts = bytes(whole[: len(sealed)]), bytes(whole[len(sealed) :])
    for key, to in ((master, belongs), (os.urandom(32), belongs), (master, belongs + b"x")):
        with pytest.raises(sealing.NotOpenedError):
            sealing.open_sealed(parts[0], parts[1], key, to)


class Stopped(BaseException):
    """The process ends here."""


class Breaking(MemoryState):
    """A record whose owner ends before, or after, it has put keys under another master key."""

    def __init__(self, *, after: bool) -> None:
        super().__init__()
        self._after = after
        self.breaks = False

    async def rewrap_secrets(self, items: Sequence[Rewrapped]) -> int:
        if self.breaks and not self._after:
            raise Stopped
        done = await super().rewrap_secrets(items)
        if self.breaks:
            raise Stopped
        return done


@pytest.mark.parametrize("after", [False, True])
def test_a_change_of_the_master_key_that_was_broken_off_goes_on(tmp_path: Path, after: bool) -> None:
    async def work() -> None:
        state = Breaking(after=after)
        one = await vault(state, tmp_path)
        await put(one, {"A": "value-one"})
        one.take(APP, {"1": {"B": "value-two"}})
        await one.keep(APP, "main")
        before = {row.master for row in await state.secrets()}
        state.breaks = True
        with pytest.raises(Stopped):
            await one.rotate(one.master_key)
        state.breaks = False
        again = await vault(state, tmp_path)
        assert len(MasterKeys(tmp_path / "master")._read()) == 1
        rows = await state.secrets()
        assert len({row.master for row in rows}) == 1
        assert before.isdisjoint(row.master for row in rows)
        uses = (DB, SecretUse(key="1"))
        assert again.values_for(function(*uses)) == {"A": "value-one", "B": "value-two"}
        old = again.master_key
        for moved in (2, 0):
            told = await again.rotate(old)
            assert told == {"rewrapped": moved, "key": again.master_key}
        assert again.values_for(function(*uses)) == {"A": "value-one", "B": "value-two"}

    run(work)


def test_without_the_key_file_nothing_opens_and_no_other_is_made(tmp_path: Path) -> None:
    async def work() -> None:
        state = MemoryState()
        await put(await vault(state, tmp_path), {"A": "value-one"})
        kept = (tmp_path / "master").read_bytes()
        (tmp_path / "master").unlink()
        one = await vault(state, tmp_path)
        for doing in (
            lambda: one.put(PLACE, {"A": "x"}, how="replace", version=fresh()),
            lambda: one.rotate(""),
        ):
            with pytest.raises(MasterKeyUnusable, match="there is no master key"):
                await doing()
        with pytest.raises(MasterKeyUnusable):
            one.values_for(function(DB))
        assert not (tmp_path / "master").exists()
        (tmp_path / "master").write_bytes(kept)
        (tmp_path / "master").chmod(0o600)
        assert one.values_for(function(DB)) == {"A": "value-one"}

    run(work)


@pytest.mark.parametrize(
    ("text", "mode", "why"),
    [
        (b"QUFB\n", 0o600, "a line that is no key"),
        (b"# nothing\n", 0o600, "has no key in it"),
        (b"A" * 43 + b"=\n", 0o644, "may be read by others"),
        (b"\xff" * 50, 0o600, "a line that is no key"),
    ],
)
def test_a_key_file_that_is_not_as_it_should_be_is_refused(
    tmp_path: Path, text: bytes, mode: int, why: str
) -> None:
    path = tmp_path / "master"
    path.write_bytes(text)
    path.chmod(mode)
    with pytest.raises(MasterKeyUnusable, match=why):
        MasterKeys(path).first(may_make=True)


def test_the_owner_may_put_a_key_first_by_hand(tmp_path: Path) -> None:
    async def work() -> None:
        state = MemoryState()
        await put(await vault(state, tmp_path), {"A": "value-one"})
        path = tmp_path / "master"
        path.write_bytes(b"A" * 43 + b"=\n" + path.read_bytes())
        one = await vault(state, tmp_path)
        assert one.values_for(function(DB)) == {"A": "value-one"}
        assert len({row.master for row in await state.secrets()}) == 1
        assert len(MasterKeys(path)._read()) == 1

    run(work)


def test_what_came_with_an_app_goes_with_it_and_is_copied_for_a_rollback(tmp_path: Path) -> None:
    async def work() -> None:
        state = MemoryState()
        one = await vault(state, tmp_path)
        other = AppId("ap-2")
        use = SecretUse(key="1")
        one.take(APP, {"1": {"A": "value-one"}})
        await one.keep(APP, "main")
        await one.keep(APP, "main")
        assert len(await state.secrets()) == 1
        await one.copy(APP, other, "main")
        await one.forget([APP])
        with pytest.raises(SecretNotFound):
            one.values_for(function(use))
        assert one.values_for(function(use, app=other)) == {"A": "value-one"}
        await one.sweep({other}, now_s=1e12)
        assert len(await state.secrets()) == 1
        await one.sweep(set(), now_s=0.0)
        assert len(await state.secrets()) == 1
        await one.sweep(set(), now_s=1e12)
        assert await state.secrets() == ()

    run(work)


def test_no_more_is_taken_than_there_is_room_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_SECRETS", 1)

    async def work() -> None:
        one = await vault(MemoryState(), tmp_path)
        await put(one, {"A": "value-one"})
        with pytest.raises(Error, match="no more may be"):
            await one.put(("main", "two"), {"A": "x"}, how="new", version=fresh())
        await put(one, {"A": "value-two"}, "replace")
        with pytest.raises(InvalidError, match="an app's secrets have more than"):
            one.take(APP, {str(n): {f"V{m}": "x" * 90_000 for m in range(10)} for n in range(2)})

    run(work)


def test_no_error_and_no_repr_has_a_value(tmp_path: Path) -> None:
    async def work() -> None:
        state = MemoryState()
        one = await vault(state, tmp_path)
        await put(one, {"A": "canary-value"})
        (row,) = await state.secrets()
        said = [repr(row), repr(one.rows()), repr(one), json.dumps({"n": row.name})]
        for wrong in ({"A": "canary-value\0"}, {"A b": "canary-value"}):
            with pytest.raises(InvalidError) as refused:
                await put(one, wrong, "replace")
            said.append(repr(refused.value) + str(refused.value.to_wire()))
        assert not [text for text in said if "canary" in text]

    run(work)
