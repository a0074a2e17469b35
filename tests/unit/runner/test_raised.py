"""Whatever an exception does when it is looked at, its description is bounded, plain and safe."""

# ruff: noqa: N818 - they are told apart by what they do

import asyncio
import json
import threading
from typing import Any

import pytest

from squall.model.errors import OutOfMemory
from squall.model.raised import HEAD_LIMIT_BYTES, PARTS_LIMIT_BYTES
from squall.runner import raised as ours
from squall.runner.raised import describe


def described(error: BaseException) -> tuple[dict[str, Any], bytes | None]:
    try:
        raise error
    except BaseException as caught:  # noqa: BLE001 - the one just raised
        head, payload = describe(caught, source_root="/app")
    assert len(json.dumps(head)) <= HEAD_LIMIT_BYTES
    assert payload is None or len(payload) <= PARTS_LIMIT_BYTES + 10_000
    return head, payload


class StrRaises(Exception):
    def __str__(self) -> str:
        raise SystemExit(3)


class StrIsNoStr(Exception):
    def __str__(self) -> str:
        return 3  # type: ignore[return-value]  # noqa: PLE0307 - that is the point


class ReduceRaises(Exception):
    def __reduce__(self) -> Any:
        raise KeyboardInterrupt


class Exploding:
    def __reduce__(self) -> Any:
        raise SystemExit(9)


class Endless:
    """Pickles to ever more bytes."""

    def __reduce__(self) -> Any:
        return (list, (), None, iter(lambda: b"x" * 100_000, None))


class Liar(type):
    def __getattribute__(cls, name: str) -> Any:
        if name in {"__module__", "__qualname__", "__str__", "__mro__"}:
            raise RuntimeError("nothing is told of this class")
        return super().__getattribute__(name)


class OfALiar(Exception, metaclass=Liar):
    pass


class NothingWorks(Exception):
    def __getattribute__(self, name: str) -> Any:
        raise KeyboardInterrupt


class SlotsRaise(Exception):
    @property
    def __dict__(self) -> Any:  # type: ignore[override]
        raise RuntimeError("no attributes")


class SneakyText(str):  # noqa: SLOT000 - slots are not what it is about
    def __getitem__(self, key: object) -> Any:
        raise RuntimeError("not to be cut")

    def __len__(self) -> int:
        return 1 << 40


@pytest.mark.parametrize("error", [StrRaises(1), StrIsNoStr(1)])
def test_a_message_that_cannot_be_told_says_so(error: Exception) -> None:
    head, _ = described(error)
    assert head["message"] == "<exception str() failed>"


def test_a_huge_message_is_cut_and_says_how_much_is_missing() -> None:
    head, payload = described(ValueError("x" * 200_000_000))
    assert "more characters left out" in head["nodes"][0]["message"]
    assert payload is None


def test_a_huge_argument_is_left_behind_and_named() -> None:
    head, payload = described(ValueError("short", b"x" * 50_000_000, 7))
    text = head["nodes"][0]["args"][1]
    assert "bytes" in text
    assert "too large" in text
    assert head["nodes"][0]["args"][2] == 7
    assert payload is None


def test_arguments_that_cannot_be_pickled_cost_only_themselves() -> None:
    head, _ = described(ValueError(threading.Lock(), Exploding(), Endless(), "kept"))
    assert [str(arg)[:4] for arg in head["nodes"][0]["args"]] == ["[lef", "[lef", "[lef", "kept"]


@pytest.mark.parametrize("cls", [ReduceRaises, OfALiar, SlotsRaise])
def test_hostile_classes_are_described(cls: type[Exception]) -> None:
    head, _ = described(cls("x"))
    assert head["nodes"][0]["message"] == "x"
    assert head["nodes"][0]["qualname"] == type.__getattribute__(cls, "__qualname__")


def test_text_that_lies_about_itself_is_described() -> None:
    assert described(ValueError(SneakyText("x")))[0]["message"] == "x"


def test_an_exception_that_answers_nothing_still_has_a_type() -> None:
    head, payload = describe(NothingWorks("x"), source_root="/app")
    assert head["nodes"][0]["qualname"] == "NothingWorks"
    assert "cannot be described" in head["message"]
    assert payload is None


def test_a_cause_that_is_its_own_cause_ends() -> None:
    error = ValueError("x")
    error.__cause__ = error
    head, _ = described(error)
    assert len(head["nodes"]) == 1


def test_a_long_chain_is_bounded() -> None:
    error: Exception = ValueError("0")
    for number in range(5_000):
        outer = ValueError(str(number))
        outer.__cause__ = error
        error = outer
    head, _ = described(error)
    assert len(head["nodes"]) <= 64


def test_a_group_of_groups_is_bounded_and_says_what_is_missing() -> None:
    group: Exception = ValueError("x")
    for _ in range(6):
        group = ExceptionGroup("g", [group] * 6)
    head, _ = described(group)
    assert len(head["nodes"]) <= 64
    assert any("left out" in note for node in head["nodes"] for note in node["notes"])


def test_many_long_notes_are_bounded() -> None:
    error = ValueError("x")
    for number in range(10_000):
        error.add_note(f"{number} " + "\N{GRINNING FACE}" * 5_000)
    head, _ = described(error)
    assert "more notes left out" in head["nodes"][0]["notes"][-1]


def test_notes_that_are_no_list_are_left_alone() -> None:
    error = ValueError("x")
    error.__notes__ = 3  # type: ignore[assignment]
    assert described(error)[0]["nodes"][0]["notes"] == []


def test_lone_surrogates_do_not_reach_the_wire() -> None:
    head, _ = described(ValueError("a\udc80b"))
    json.dumps(head, ensure_ascii=False).encode()


def test_a_deep_traceback_keeps_both_ends() -> None:
    lines = [f"def f{n}():\n    f{n + 1}()\n" for n in range(900)]
    names: dict[str, Any] = {}
    exec("".join(lines) + "def f900():\n    raise ValueError('deep')\n", names)
    with pytest.raises(ValueError) as caught:
        names["f0"]()
    head, _ = describe(caught.value, source_root="/app")
    shown = [head["places"][index]["name"] for index, _ in head["nodes"][0]["frames"]]
    assert "f0" in shown
    assert shown[-1] == "f900"
    assert any("frames left out" in name for name in shown)
    assert len(json.dumps(head)) <= HEAD_LIMIT_BYTES


@pytest.mark.parametrize(
    ("error", "kind"),
    [(SystemExit(3), "exit"), (KeyboardInterrupt(), "interrupt"), (ValueError(), "exception")],
)
def test_the_ways_to_leave_are_told_apart(error: BaseException, kind: str) -> None:
    assert described(error)[0]["kind"] == kind


def test_no_frame_of_ours_and_of_what_lies_between_is_told() -> None:
    def user() -> None:
        raise ValueError("x")

    async def through_asyncio() -> None:
        await asyncio.wait_for(asyncio.to_thread(user), 5)

    # A function that counts as ours: compiled under the name of one of our files.
    code = compile("def call(run):\n    import asyncio\n    asyncio.run(run())\n", ours.__file__, "exec")
    names: dict[str, Any] = {}
    exec(code, names)
    with pytest.raises(ValueError) as caught:
        names["call"](through_asyncio)
    caught.value.__traceback__ = caught.value.__traceback__.tb_next  # type: ignore[union-attr]
    head, payload = describe(caught.value, source_root="/app")
    shown = [head["places"][index]["name"] for index, _ in head["nodes"][0]["frames"]]
    assert shown[0] == "through_asyncio"
    assert shown[-1] == "user"
    assert payload is None


def test_an_error_of_ours_travels_in_its_own_form() -> None:
    head, payload = described(OutOfMemory(limit_bytes=5, peak_bytes=9))
    assert head["nodes"][0]["wire"]["code"] == OutOfMemory.code
    assert head["nodes"][0]["wire"]["limit_bytes"] == 5
    assert payload is None


def test_locals_are_never_told() -> None:
    def secretive() -> None:
        password = "hunter" + "2"
        raise ValueError(len(password))

    with pytest.raises(ValueError) as caught:
        secretive()
    head, payload = describe(caught.value, source_root="/app")
    assert "hunter2" not in json.dumps(head) + repr(payload)


def test_what_is_told_of_an_exception_has_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ours, "_redactor", [])
    ours.hide(["hunter22", "abc"])
    try:
        try:
            raise KeyError("hunter22")
        except KeyError as cause:
            error = ValueError("it is hunter22", {"token": "hunter22"})
            error.add_note("base64: aHVudGVyMjI=")
            error.where = "https://ada:hunter22@host"  # type: ignore[attr-defined]  # as users do
            raise error from cause
    except ValueError as found:
        head, payload = ours.describe(found, source_root="")
    assert "hunter22" not in json.dumps(head)
    assert "aHVudGVyMjI" not in json.dumps(head)
    assert payload is None
    assert head["type"] == "builtins.ValueError"
    # Too short to be hidden, and nothing else is touched.
    head, _ = ours.describe(ValueError("abc, and more"), source_root="")
    assert head["message"] == "abc, and more"
