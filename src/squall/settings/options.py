"""Options: what the owner of a machine may set, each with its default, its bounds and its meaning."""

import os
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from squall.model.call import LARGEST_VALUE
from squall.model.deploy import check_name
from squall.model.errors import InvalidError
from squall.settings.database_url import wrong_with

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB
DAY_S = 86_400.0

# Variables of ours that are no options, though they begin like one.
_OTHER_VARIABLES = frozenset({"SQUALL_LOG_FD", "SQUALL_START_PATH"})


def _option(default: float, *, least: float, most: float, means: str) -> Any:
    """A dataclass field with its bounds (both allowed) and its meaning; the default's type is the option's."""
    return field(default=default, metadata={"least": least, "most": most, "means": means})


def _networks(*, most: int, means: str) -> Any:
    """A field that is text: networks of IPv4 with commas between them, at most so many, none by default."""
    return field(default="", metadata={"least": "", "most": "", "means": means, "networks": most})


def _text(default: str = "", *, wrong: Callable[[str], str], means: str) -> Any:
    """A field that is text; wrong: says what is wrong with a value, "" if nothing is."""
    return field(default=default, metadata={"least": "", "most": "", "means": means, "wrong": wrong})


def _one_of(*words: str) -> Callable[[str], str]:
    return lambda value: "" if value in words else f"must be one of {', '.join(words)}, not {value!r}"


def _no_environment(value: str) -> str:
    try:
        check_name("an environment", value)
    except InvalidError as wrong:
        return f"names no environment: {wrong.remedy}"
    return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Every option of one machine's Squall.

    Names end in their unit: _s seconds, _bytes bytes, nothing for a count. Each is set by the environment
    (SQUALL_IDLE_S=60) or by config.toml in the state directory (idle_s = 60); the environment wins.
    Raises InvalidError for a value out of its bounds.
    """

    # processes
    idle_s: float = _option(
        600.0, least=0.0, most=7 * DAY_S, means="the server ends after this long without work; 0 means never"
    )
    start_deadline_s: float = _option(
        10.0, least=0.1, most=300.0, means="how long a client waits for a server that is being started"
    )
    stop_grace_s: float = _option(
        10.0,
        least=0.0,
        most=3600.0,
        means="how long a stopping process or container may take before it is killed",
    )
    spare_launchers: int = _option(
        1, least=0, most=16, means="warm interpreters kept parked for the next new function"
    )
    agent_here: int = _option(
        1,
        least=0,
        most=1,
        means="whether this machine runs containers for its own server; 0 leaves that to machines that joined",
    )
    # templates
    template_idle_s: float = _option(
        3600.0,
        least=1.0,
        most=30 * DAY_S,
        means="a function's template goes after this long without a start from it",
    )
    templates_bytes: int = _option(
        4 * GIB,
        least=0,
        most=1024 * GIB,
        means="memory of all templates; above it the least recently used go",
    )
    template_sweep_s: float = _option(
        30.0, least=0.1, most=3600.0, means="how often templates are looked at for whether they stay"
    )
    templates_ahead: int = _option(
        4,
        least=0,
        most=64,
        means="templates of functions that were busy before, made as their app is opened, that nobody has "
        "called yet; 0 means none",
    )
    packages_stay_s: float = _option(
        0.3,
        least=0.0,
        most=3600.0,
        means="packages that a function begins with, and that take this long of a core to be imported, stay in a "
        "process of their own for its next versions",
    )
    slow_start_s: float = _option(
        10.0,
        least=0.0,
        most=DAY_S,
        means="a start that takes longer says in the function's log where the time went; 0 means none does",
    )
    # calls
    inline_bytes: int = _option(
        2 * MIB, least=64 * KIB, most=4 * MIB, means="values above this travel beside the wire, not in it"
    )
    out_of_band_bytes: int = _option(
        64 * KIB,
        least=KIB,
        most=2 * MIB,
        means="buffers above this travel raw beside the pickled rest of a value",
    )
    max_value_bytes: int = _option(
        LARGEST_VALUE,
        least=MIB,
        most=1024 * GIB,
        means="the largest argument, and the largest result, of one input",
    )
    values_pool_bytes: int = _option(
        8 * GIB, least=16 * MIB, most=4096 * GIB, means="memory that large values in flight may take together"
    )
    pending_inputs: int = _option(
        1_000_000,
        least=1,
        most=100_000_000,
        means="inputs that may wait for one function before more are refused",
    )
    pending_bytes: int = _option(
        1 * GIB, least=MIB, most=1024 * GIB, means="inline bytes of waiting inputs, all functions together"
    )
    lost_retries: int = _option(
        8, least=0, most=100, means="silent re-runs of an input whose container or node was lost"
    )
    result_keep_s: float = _option(
        7 * DAY_S, least=60.0, most=365 * DAY_S, means="how long results of spawned calls can be fetched"
    )
    # liveness
    heartbeat_s: float = _option(
        1.0, least=0.05, most=60.0, means="between two signs of life on a connection between our processes"
    )
    suspect_after_s: float = _option(
        3.0, least=0.1, most=600.0, means="silence after which a node gets no new work"
    )
    dead_after_s: float = _option(
        10.0, least=0.2, most=3600.0, means="silence after which a node's inputs run elsewhere"
    )
    # logs
    log_line_bytes: int = _option(
        60 * KIB, least=256, most=60 * KIB, means="longer lines of a container's output are split"
    )
    log_rate_bytes: int = _option(
        16 * MIB,
        least=KIB,
        most=GIB,
        means="output a second that a container may send before lines are dropped",
    )
    log_buffer_bytes: int = _option(
        4 * MIB,
        least=64 * KIB,
        most=GIB,
        means="output held in memory for one slow reader before lines are dropped",
    )
    log_keep_bytes: int = _option(
        GIB,
        least=MIB,
        most=1024 * GIB,
        means="disk that the containers' output may take; the oldest goes first",
    )
    log_keep_s: float = _option(
        7 * DAY_S, least=60.0, most=365 * DAY_S, means="how long the containers' output is kept"
    )
    process_log_bytes: int = _option(
        4 * MIB,
        least=16 * KIB,
        most=GIB,
        means="size at which the log of server, agent or supervisor is rotated",
    )
    # record
    environment: str = _text(
        "main",
        wrong=_no_environment,
        means="the environment that is meant where none is named: of apps that are deployed and looked up from here",
    )
    database: str = _text(
        wrong=lambda value: value and wrong_with(value),
        means="where the record of calls is kept, as postgresql://user@host/name; where it is not set, in SQLite in the "
        "state directory",
    )
    database_password_file: str = _text(
        wrong=lambda value: "" if not value or Path(value).is_absolute() else "must be an absolute path",
        means="a file that holds the database's password; where it is not set, PGPASSWORD, PGPASSFILE and ~/.pgpass "
        "are looked at",
    )
    master_key_file: str = _text(
        wrong=lambda value: "" if not value or Path(value).is_absolute() else "must be an absolute path",
        means="a file with the master key of secrets: 32 bytes in base64, a line for each key, the first is used; where it is "
        "not set, one in the state directory, made when it is first needed",
    )
    sqlite_synchronous: str = _text(
        "full",
        wrong=_one_of("normal", "full"),
        means="what a commit to SQLite survives: full a power cut, normal, which waits for no disk, the death of every process",
    )
    backup_every_s: float = _option(
        DAY_S,
        least=0.0,
        most=30 * DAY_S,
        means="between two backups of a record in SQLite, made while the server runs; 0 means none are",
    )
    backup_keep: int = _option(7, least=1, most=1000, means="how many of these backups are kept")
    # network
    network_range: str = _networks(
        most=1,
        means="the network that containers' addresses are from, as 10.88.0.0/16, from /8 to /24; "
        "where it is not set, one that the host does not use",
    )
    network_deny: str = _networks(
        most=64,
        means="networks that no container may reach, as 10.0.0.0/8,192.168.0.0/16; none but the usual ones",
    )
    # images
    layers_keep_bytes: int = _option(
        64 * GIB,
        least=64 * MIB,
        most=4096 * GIB,
        means="disk that image layers may take; unused ones go first",
    )
    blobs_grace_s: float = _option(
        DAY_S,
        least=60.0,
        most=365 * DAY_S,
        means="how long bytes stay that nothing refers to: files of apps that ended, layers of images that were "
        "forgotten, packages that were fetched",
    )
    scrub_bytes: int = _option(
        8 * MIB,
        least=0,
        most=64 * GIB,
        means="how many bytes a second are read again at most, each week, to find damage; 0 means none are",
    )
    build_timeout_s: float = _option(
        1800.0, least=1.0, most=DAY_S, means="how long one step of an image may build"
    )
    # volumes
    volume_keep_s: float = _option(
        7 * DAY_S,
        least=3600.0,
        most=3650 * DAY_S,
        means="how long a version of a volume is kept once another one has taken its place; one with a name stays",
    )
    volume_versions: int = _option(
        100,
        least=1,
        most=1_000_000,
        means="versions of one volume that are kept at most, but for those of the last hour and those with a name",
    )

    def __post_init__(self) -> None:
        for known in fields(self):
            _check(known.name, getattr(self, known.name), "the program")
        if not self.heartbeat_s < self.suspect_after_s < self.dead_after_s:
            raise _malformed(
                name="dead_after_s",
                where="the program",
                why="must be above suspect_after_s, and that above heartbeat_s",
            )


def read_options(config: Path | None = None, environ: Mapping[str, str] = os.environ) -> Options:
    """The options that the environment and the file `config` set, defaults for the rest.

    A missing file is an empty one. Raises InvalidError, which names the option and where it is set.
    """
    chosen: dict[str, float | str] = {}
    for name, value in _from_file(config).items():
        chosen[name] = _check(name, value, str(config))
    for variable, text in environ.items():
        name = _name_of(variable)
        if name:
            chosen[name] = _check(name, _number(name, text, variable), variable)
    return Options(**chosen)  # type: ignore[arg-type]  # _check gave each the type of its default


def describe() -> list[dict[str, Any]]:
    """Every option as name, default, least, most, means; for `squall explain options` and the docs."""
    shown = ("least", "most", "means")
    return [
        {"name": known.name, "default": known.default, **{key: known.metadata[key] for key in shown}}
        for known in fields(Options)
    ]


def _from_file(config: Path | None) -> dict[str, Any]:
    if config is None:
        return {}
    try:
        with open(config, "rb") as file:
            found = tomllib.load(file)
    except FileNotFoundError:
        return {}
    except OSError as problem:
        raise _unreadable(str(config), problem.strerror or str(problem)) from problem
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as problem:
        raise _unreadable(str(config), str(problem)) from problem
    for name in found:
        if name not in _KNOWN:
            raise _unknown(name=name, where=str(config), close=_close_to(name))
    return found


def _name_of(variable: str) -> str:
    """The option that an environment variable sets; empty where it is about something else.

    SQUALL_ variables have other uses too, in programs that we do not know. One that begins with the first
    word of an option, and is none, is a slip and an error: SQUALL_IDLE, SQUALL_LOG_KEEP.
    """
    if not variable.startswith("SQUALL_") or variable in _OTHER_VARIABLES:
        return ""
    name = variable.removeprefix("SQUALL_").lower()
    if name in _KNOWN:
        return name
    if any(name.split("_", 1)[0] == known.split("_", 1)[0] and "_" in known for known in _KNOWN):
        raise _unknown(name=variable, where="the environment", close=f"SQUALL_{_close_to(name).upper()}")
    return ""


def _close_to(name: str) -> str:
    """The option that shares the most words with `name`, its first among them; else empty."""
    asked = name.lower().split("_")
    shared = {
        known: sum(1 for one, two in zip(asked, known.split("_"), strict=False) if one == two)
        for known in _KNOWN
    }
    best = max(_KNOWN, key=lambda known: shared[known])
    return best if best.startswith(asked[0]) and shared[best] else ""


def _number(name: str, text: str, where: str) -> float | str:
    """What the environment says, as the kind of number that the option is; text stays as it is."""
    kind = type(_KNOWN[name].default)
    if kind is str:
        return text
    try:
        return int(text) if kind is int else float(text)
    except ValueError:
        what = "a whole number" if kind is int else "a number"
        raise _malformed(name=name, where=where, why=f"must be {what}, not {text!r}") from None


def _check(name: str, value: Any, where: str) -> float | str:
    """`value` as the option's own kind, within its bounds."""
    known = _KNOWN[name]
    kind = type(known.default)
    if kind is str and "wrong" in known.metadata:
        return _check_text(name, value, where)
    if kind is str:
        return _check_networks(name, value, where)
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not (whole or (kind is float and isinstance(value, float))):
        what = "a whole number" if kind is int else "a number"
        raise _malformed(name=name, where=where, why=f"must be {what}, not {value!r}")
    least, most = known.metadata["least"], known.metadata["most"]
    if not least <= value <= most:  # also false for nan
        raise _malformed(name=name, where=where, why=f"must be from {least} to {most}, not {value!r}")
    return float(value) if kind is float else int(value)


def _check_text(name: str, value: Any, where: str) -> str:
    why = _KNOWN[name].metadata["wrong"](value) if isinstance(value, str) else "must be text"
    if why:
        raise _malformed(name=name, where=where, why=why)
    return str(value)


def _check_networks(name: str, value: Any, where: str) -> str:
    """`value`, if it is networks of IPv4."""
    most: int = _KNOWN[name].metadata["networks"]
    if not isinstance(value, str):
        raise _malformed(name=name, where=where, why=f"must be text, not {value!r}")
    for number, word in enumerate(networks_in(value), 1):
        try:
            network = IPv4Network(word)
        except ValueError as problem:
            raise _malformed(name=name, where=where, why=f"must name networks of IPv4: {problem}") from None
        if number > most:
            raise _malformed(name=name, where=where, why=f"must name at most {most}")
        if most == 1 and not 8 <= network.prefixlen <= 24:
            raise _malformed(name=name, where=where, why=f"must be from /8 to /24, not {word!r}")
    return value


def networks_in(text: str) -> tuple[str, ...]:
    """The networks that an option of that kind names."""
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _unknown(*, name: str, where: str, close: str) -> InvalidError:
    return InvalidError(
        f"there is no option {name!r} (set in {where})" + (f"; did you mean {close!r}?" if close else ""),
        remedy="correct its name or remove it; `squall explain options` lists every option",
    )


def _malformed(*, name: str, where: str, why: str) -> InvalidError:
    return InvalidError(
        f"the option {name!r} (set in {where}) {why}",
        remedy="give it a value within its bounds; `squall explain options` lists every option",
    )


def _unreadable(config: str, why: str) -> InvalidError:
    return InvalidError(
        f"the configuration file {config} cannot be read: {why}",
        remedy="correct the file, or remove it to use the defaults",
    )


_KNOWN = {known.name: known for known in fields(Options)}
