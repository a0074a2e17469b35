"""The gate: whether a process may be forked after the user's imports, decided from what was seen before and after."""

from dataclasses import dataclass
from enum import StrEnum

from squall.runtime.template import remedies


class Kind(StrEnum):
    """What a descriptor is."""

    FILE = "file"
    DIRECTORY = "directory"
    SOCKET = "socket"
    PIPE = "pipe"
    EPOLL = "epoll"
    EVENTFD = "eventfd"
    TIMERFD = "timerfd"
    SIGNALFD = "signalfd"
    INOTIFY = "inotify"
    IO_URING = "io_uring"
    PIDFD = "pidfd"
    MEMFD = "memfd"
    GPU = "gpu"
    HARMLESS = "harmless"  # /dev/null, zero, full, random, urandom: no state, nothing to share
    DEVICE = "device"
    UNKNOWN = "unknown"


class What(StrEnum):
    """An object, alive after the imports, that a fork may break or copy."""

    EXECUTOR = "executor"
    IDLE_EXECUTOR = "idle_executor"  # made, but without a thread yet: it starts its first one in the child
    PROCESS_POOL = "process_pool"
    EVENT_LOOP = "event_loop"
    CHANNEL = "channel"
    CONNECTION = "connection"
    SESSION = "session"
    DEVICE_CONTEXT = "device_context"
    GENERATOR = "generator"


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Task:
    """A thread of the process as the kernel sees it: its id, and its name (15 bytes)."""

    id: int
    name: str


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Thread:
    """A thread that Python knows, the main one left out. module: where its function is defined, if that is known."""

    name: str
    module: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Descriptor:
    """An open descriptor. target: what the kernel says it is. holder: the Python name that holds it, if found."""

    number: int
    kind: Kind
    target: str = ""
    writable: bool = False
    holder: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Made:
    """An object that a fork may break. type: its class, with module. holder: the Python name that holds it, if found."""

    what: What
    type: str
    holder: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What one look at the own process found. None: it could not be looked at.

    tasks: all of them, the one that looked first. shared: writable memory that a fork shares, by what it maps;
    withheld: memory that a fork does not copy.
    children: child processes, -1 for one whose number is not known. handlers: signals with a handler in Python.
    alarm: whether an interval timer runs.
    """

    tasks: tuple[Task, ...] | None
    descriptors: frozenset[Descriptor] | None
    shared: frozenset[str] | None
    withheld: frozenset[str] | None
    children: frozenset[int] | None
    threads: frozenset[Thread] = frozenset()
    made: frozenset[Made] = frozenset()
    modules: frozenset[str] = frozenset()
    handlers: frozenset[str] = frozenset()
    alarm: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Reason:
    """Why a process may not be forked, or what its owner should know.

    word: never changes its meaning. found: what was seen. module: where it comes from, or nothing where that is not
    known. remedy: what the owner of the function should change.
    """

    word: str
    found: str
    module: str = ""
    remedy: str

    def __str__(self) -> str:
        where = f" ({self.module})" if self.module else ""
        return f"{self.found}{where}: {self.remedy}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Whether the process may be forked. keep: descriptors that each child needs (see `reopen`)."""

    reasons: tuple[Reason, ...] = ()
    warnings: tuple[Reason, ...] = ()
    keep: tuple[int, ...] = ()

    @property
    def safe(self) -> bool:
        """Whether it may be forked: nothing speaks against it."""
        return not self.reasons


def judge(before: Seen, after: Seen) -> Verdict:
    """Whether a process that was `before` its imports and is `after` now may be forked. In doubt it may not."""
    descriptors = _new_descriptors(before, after)
    reasons = [
        *_unseen(before, after),
        *_tasks(after),
        *_threads(after),
        *_descriptors(descriptors),
        *_memory(before, after),
        *_children(before, after),
        *_made(before, after, _REFUSED),
    ]
    warnings = [
        *(_reason("file", one.target, module=one.holder) for one in descriptors if _is_kept_file(one)),
        *_made(before, after, _TOLERATED),
        *(_reason("handler", name) for name in sorted(after.handlers - before.handlers)),
        *([_reason("alarm", "")] if after.alarm and not before.alarm else []),
    ]
    keep = tuple(one.number for one in descriptors if one.kind is Kind.HARMLESS or _is_kept_file(one))
    return Verdict(reasons=_once(reasons), warnings=_once(warnings), keep=keep)


# Proven by forking: an executor without a thread starts its first one where it is first used.
_TOLERATED = frozenset({What.IDLE_EXECUTOR, What.GENERATOR})
_REFUSED = frozenset(What) - _TOLERATED


_LOOKED_AT = ("tasks", "descriptors", "shared", "withheld", "children")


def _unseen(before: Seen, after: Seen) -> list[Reason]:
    hidden = {name for name in _LOOKED_AT if getattr(after, name) is None}
    hidden |= {name for name in _LOOKED_AT if name != "tasks" and getattr(before, name) is None}
    return [_reason("unseen", name) for name in hidden]


def _tasks(after: Seen) -> list[Reason]:
    """A reason for each name among the tasks beside the one that forks; those that Python knows are told as threads."""
    tasks = after.tasks or ()
    names: dict[str, int] = {}
    for task in tasks[1:]:
        # A thread that was given no name has the process's; those of a pool are numbered.
        name = "" if task.name == tasks[0].name else task.name.rstrip("0123456789")
        names[name] = names.get(name, 0) + 1
    count = sum(names.values())
    if not count or count <= len(after.threads):
        return []
    return [
        _reason(
            "native_thread",
            f"{number} {f'named {name!r}' if name else 'without a name'}",
            module=remedies.owner_of_thread(name, after.modules),
        )
        for name, number in sorted(names.items())
    ]


def _threads(after: Seen) -> list[Reason]:
    return [_reason("thread", repr(one.name), module=one.module) for one in sorted(after.threads)]


def _new_descriptors(before: Seen, after: Seen) -> list[Descriptor]:
    """The descriptors that the imports opened. A number that is something else now counts as new."""
    old = {(one.number, one.kind, one.target) for one in before.descriptors or ()}
    return sorted(one for one in after.descriptors or () if (one.number, one.kind, one.target) not in old)


def _is_kept_file(one: Descriptor) -> bool:
    return one.kind is Kind.FILE and not one.writable


def _descriptors(descriptors: list[Descriptor]) -> list[Reason]:
    return [
        _reason(
            "file_writable" if one.kind is Kind.FILE else str(one.kind),
            f"{one.target or 'descriptor'} (descriptor {one.number})",
            module=one.holder,
        )
        for one in descriptors
        if one.kind is not Kind.HARMLESS and not _is_kept_file(one)
    ]


def _memory(before: Seen, after: Seen) -> list[Reason]:
    looked = (
        ("shared_memory", before.shared, after.shared),
        ("withheld_memory", before.withheld, after.withheld),
    )
    return [
        _reason(word, name)
        for word, old, new in looked
        for name in sorted((new or frozenset()) - (old or frozenset()))
    ]


def _children(before: Seen, after: Seen) -> list[Reason]:
    new = (after.children or frozenset()) - (before.children or frozenset())
    return [_reason("child_process", f"process {pid}" if pid > 0 else "a process") for pid in sorted(new)]


def _made(before: Seen, after: Seen, kinds: frozenset[What]) -> list[Reason]:
    return [
        _reason(str(one.what), one.type, module=one.holder)
        for one in sorted(after.made - before.made)
        if one.what in kinds
    ]


def _reason(word: str, found: str, *, module: str = "") -> Reason:
    told, remedy = remedies.TOLD[word]
    return Reason(
        word=word, found=told.format(found), module=module, remedy=remedies.special(word, module) or remedy
    )


def _once(reasons: list[Reason]) -> tuple[Reason, ...]:
    return tuple(sorted(set(reasons)))
