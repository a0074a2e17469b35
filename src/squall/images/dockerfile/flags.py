"""Flags: what stands between an instruction and its arguments, and which of it this version does not do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from squall.images.dockerfile.lines import Instruction
from squall.images.dockerfile.refusal import Refusal

_KNOWN: Final[Mapping[str, frozenset[str]]] = {
    "FROM": frozenset({"platform"}),
    "COPY": frozenset({"from", "chown", "chmod"}),
    "ADD": frozenset({"chown", "chmod", "checksum"}),
    "HEALTHCHECK": frozenset({"interval", "timeout", "start-period", "start-interval", "retries"}),
}

_LINK = (
    "a layer that stands apart from those below it is not made",
    "leave --link out: the files are the same",
)
_PARENTS = (
    "the directories of a source are not kept",
    "write one COPY for each directory, with the directory as its destination",
)
_EXCLUDE = ("files cannot be left out of one COPY", "name them in .dockerignore, or in ignore=")

_NOT_DONE: Final[Mapping[tuple[str, str], tuple[str, str]]] = {
    ("RUN", "mount"): (
        "nothing can be mounted for one command",
        "leave --mount out: a cache only saves time; COPY what a bind would show; give secrets to the function",
    ),
    ("RUN", "network"): ("the network of one command cannot be chosen", "leave --network out"),
    ("RUN", "security"): ("a command cannot be given more rights", "leave --security out"),
    ("RUN", "device"): (
        "a command is given no device",
        "leave --device out, and ask for a GPU at the function",
    ),
    ("COPY", "link"): _LINK,
    ("COPY", "parents"): _PARENTS,
    ("COPY", "exclude"): _EXCLUDE,
    ("ADD", "link"): _LINK,
    ("ADD", "exclude"): _EXCLUDE,
    ("ADD", "keep-git-dir"): ("nothing is cloned by ADD", "clone it in a RUN"),
    ("ADD", "unpack"): ("whether ADD unpacks cannot be chosen", "use COPY for archives that stay packed"),
}


def read_flags(instruction: Instruction) -> dict[str, str]:
    """The flags of an instruction by name. Raises Refusal for one that Docker does not know, or that is not done here."""
    read: dict[str, str] = {}
    for flag in instruction.flags:
        name, equals, value = flag.removeprefix("--").partition("=")
        _check(instruction.keyword, name, value)
        if (instruction.keyword, name) in _NOT_DONE:
            continue
        if not equals:
            raise Refusal(f"--{name} has no value", f"write --{name}=VALUE")
        if name in read:
            raise Refusal(f"--{name} stands here twice", "keep one of them")
        read[name] = value
    return read


def _check(keyword: str, name: str, value: str) -> None:
    not_done = _NOT_DONE.get((keyword, name))
    if not_done is not None:
        if name == "link" and value == "false":
            return
        why, remedy = not_done
        raise Refusal(
            f"{keyword} --{name} is not in this version: {why}", remedy, feature=f"{keyword} --{name}"
        )
    if name not in _KNOWN.get(keyword, frozenset()):
        raise Refusal(f"{keyword} has no flag --{name}", "check the spelling, or leave it out")
