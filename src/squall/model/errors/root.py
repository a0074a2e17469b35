"""The error that every other error of Squall is, and its form on the wire."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final, Self

_BY_CODE: Final[dict[str, type[Error]]] = {}
_OWN_KEYS: Final = frozenset({"code", "message", "remedy", "status"})
_MODULE: Final = "squall.model.errors"


class Error(Exception):
    """Something went wrong that Squall has a name for.

    message says what is so and why; remedy says what to do about it. code ("SQ-1234") never changes its meaning;
    status is the HTTP status that fits. Further facts are keyword details that JSON can carry; those that a class
    declares as attributes (`limit_bytes: int | None = None`) are set on the error too.
    """

    code: ClassVar[str] = "SQ-1000"
    status: ClassVar[int] = 500
    remedy: str = "run the command again with `--verbose`, and look at `squall logs` for what the server said"
    message: str
    details: Mapping[str, Any]

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        # One public place for all: tracebacks and pickles name it, whichever file the class is written in.
        if cls.__module__.startswith(_MODULE + "."):
            cls.__module__ = _MODULE
        if "code" in cls.__dict__:
            # The first class keeps its code; a test finds a code that two classes of the tree claim.
            _BY_CODE.setdefault(cls.code, cls)

    def __init__(self, message: str = "", *, remedy: str | None = None, **details: Any) -> None:
        text = message or _first_sentence(type(self))
        super().__init__(text)
        self.message = text
        if remedy is not None:
            self.remedy = remedy
        self.details = details
        for name in facts_of(type(self)):
            if name in details:
                setattr(self, name, details[name])
        # A note, so that every printed traceback ends with what to do, while str() stays the bare message.
        self.add_note(f"{self.code}: {self.remedy}")

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> tuple[Any, ...]:
        return from_wire, (self.to_wire(),)

    def to_wire(self) -> dict[str, Any]:
        """The head of a FAIL frame that says this error; `from_wire` reads it."""
        return {**self.details, "code": self.code, "message": self.message, "remedy": self.remedy}

    @classmethod
    def from_wire(cls, head: Mapping[str, Any]) -> Error:
        """The error that `head` says; see `squall.model.errors.from_wire`."""
        return from_wire(head)

    @classmethod
    def like(cls, other: BaseException, **details: Any) -> Self:
        """This error, saying what `other` said; the caller raises it `from other`."""
        return cls(f"{type(other).__name__}: {other}", **details)


Error.__module__ = _MODULE
_BY_CODE[Error.code] = Error
SquallError = Error


def from_wire(head: Mapping[str, Any]) -> Error:
    """The error that the head of a FAIL frame says, in its own class.

    A code that this version does not know becomes a plain Error that keeps the text and names the code, so that a
    newer server can still be understood. Never raises, whatever is in `head`.
    """
    code = str(head.get("code", ""))
    known = _BY_CODE.get(code)
    message, remedy = head.get("message"), head.get("remedy")
    details = {str(key): value for key, value in head.items() if key not in _OWN_KEYS}
    if known is None and code:
        details["unknown_code"] = code
    text = str(message) if message else ""
    if known is None and not text:
        text = f"the other side failed with the code {code or '(none)'}, which this version does not know"
    cls = known or Error
    # Not cls(...): a class may one day ask for more, and rebuilding must never fail.
    error = cls.__new__(cls)
    Error.__init__(error, text, remedy=str(remedy) if remedy else None, **details)
    return error


def by_code() -> dict[str, type[Error]]:
    """Every code and the class it stands for, in the order of the codes."""
    return dict(sorted(_BY_CODE.items()))


def facts_of(cls: type[Error]) -> tuple[str, ...]:
    """The names of the facts that a class and those above it declare: public attributes that are None until they are known."""
    names = (
        name
        for each in cls.__mro__
        if issubclass(each, Error)
        for name, value in vars(each).items()
        if value is None
    )
    return tuple(dict.fromkeys(name for name in names if not name.startswith("_")))


def _first_sentence(cls: type[Error]) -> str:
    # -OO strips docstrings; the name of the class is then what is left to say.
    return (cls.__doc__ or cls.__name__).strip().splitlines()[0].rstrip(".")
