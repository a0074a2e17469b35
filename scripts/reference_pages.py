"""Generated pages about what people type: the commands, the Python names, and what each kind of machine gives."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import click

import squall
from squall.cli.main import squall as program
from squall.runtime.cgroup_plan import Cgroups
from squall.runtime.host import Host, SubordinateIds
from squall.runtime.rungs import rungs
from squall.sdk import autoscaler, deploy, function_call, image_verbs, verbs
from squall.sdk.image_declared import Chain
from squall.sdk.shared_object import SharedObject

# Wide enough that no line of a help page is broken where a reader of the page would not break it.
_WIDTH = 100
_ROOT = Host(
    kernel=(6, 1),
    machine="x86_64",
    uid=0,
    privileged=True,
    cgroup=Cgroups(version=2, bases=(("memory", "/s"), ("cpu", "/s"), ("pids", "/s"))),
    shm_bytes=1 << 30,
    python="/usr/bin/python3",
    landlock_abi=7,
)
_BARE = replace(_ROOT, uid=1000, privileged=False, cgroup=Cgroups(version=0, why="no delegated cgroup"))
_IDS = SubordinateIds(uid_first=100_000, uid_count=65_536, gid_first=100_000, gid_count=65_536)
HOSTS = {
    "root": _ROOT,
    "user with a delegated cgroup and subordinate ids": replace(_BARE, cgroup=_ROOT.cgroup, subordinate=_IDS),
    "bare user": _BARE,
    "namespaces refused": replace(_BARE, sandbox_refused="the kernel refuses new namespaces"),
    "Python in a private home": replace(_BARE, python_private=True),
}
# What other parts of Squall need of these classes.
_NOT_FOR_USERS = {"run_as", "target", "spec", "set_run", "identity", "with_step", "value", "is_generator"}
# What stands in _VERBS.
_NOT_FOR_USERS |= {"gather", "publish", "build"}
_NOT_FOR_USERS |= {"packed_value", "packed_entries", "packed_items"}
_OF_DICT = ("get", "put", "pop", "update", "contains", "len", "keys", "values", "items", "clear")
_OF_QUEUE = ("put", "put_many", "get", "get_many", "iterate", "len", "clear")


def _awaited(cls: type, *names: str) -> dict[str, Any]:
    return {name: getattr(cls, f"_{name}") for name in names}


_VERBS: dict[type, dict[str, Any]] = {
    squall.App: {"deploy": deploy.Deploy.__call__},
    squall.Function: {
        "remote": verbs.Remote.__call__,
        "map": verbs.Mapped.__call__,
        "starmap": verbs.Mapped.__call__,
        "for_each": verbs.ForEach.__call__,
        "spawn": verbs.Spawn.__call__,
        "spawn_map": verbs.SpawnMap.__call__,
        "remote_gen": verbs.RemoteItems.__call__,
        "update_autoscaler": autoscaler.Update.__call__,
    },
    squall.Image: {
        "publish": image_verbs.Publish.__call__,
        "build": image_verbs.Build.__call__,
    },
    squall.Dict: _awaited(squall.Dict, *_OF_DICT),
    squall.Queue: _awaited(squall.Queue, *_OF_QUEUE),
    squall.FunctionCall: {
        "get": squall.FunctionCall.value,
        "iter": squall.FunctionCall._iter,
        "cancel": squall.FunctionCall._cancel,
        "num_inputs": squall.FunctionCall._num_inputs,
        "gather": function_call._gather,
    },
}
PYTHON_HEAD = """
What `import squall` gives. `help(squall.App.function)` and its like print the same in a terminal; the guides show each at
work: [running](guides/running.md), [calling](guides/calling.md), [deploying](guides/deploying.md),
[containers](guides/containers.md), [classes](guides/classes.md), [images](guides/images.md),
[what is shared](guides/sharing.md).
"""


def commands_page(made: str) -> str:
    """The help of every command."""
    lines = ["# Commands", "", made, "What `squall COMMAND --help` prints, for each command.", ""]
    lines += ["| command | |", "|---|---|"]
    found = list(_commands(program, "squall"))
    lines += [f"| [`{name}`](#{_anchor(name)}) | {_first(command)} |" for name, command, _ in found]
    for name, _, text in found:
        lines += ["", f"## {name}", "", "```text", text, "```"]
    return "\n".join(lines) + "\n"


def hosts_page(made: str) -> str:
    """The table of kinds of machines: what each feature gets there."""
    lines = ["# Kinds of machines", "", made]
    lines += [
        "`squall doctor` prints what each feature gets on a machine. These are the five kinds that are told apart and",
        "tested, on an up-to-date kernel with enough shared memory; what is not the best there is stands with what gives more.",
        "",
    ]
    tables = {kind: {rung.feature: rung for rung in rungs(host)} for kind, host in HOSTS.items()}
    best = tables["root"]
    for kind, table in tables.items():
        differ = {name: rung for name, rung in table.items() if rung.rung != best[name].rung}
        lines += [f"## {kind[0].upper()}{kind[1:]}", ""]
        lines += ["As root, but for:", ""] if table is not best else []
        lines += ["| feature | what it gets | for more |", "|---|---|---|"]
        lines += [
            f"| {name} | {rung.rung} | {rung.more.replace('|', chr(92) + '|')} |"
            for name, rung in (table if table is best else differ).items()
        ]
        lines.append("")
    return "\n".join(lines)


def public() -> list[tuple[str, Any]]:
    """Every public name of the package and of its public classes, as users write it, with what it is."""
    found: list[tuple[str, Any]] = []
    for name in sorted(squall._HOMES):
        if name.startswith("__"):
            continue
        value = getattr(squall, name)
        found.append((f"squall.{name}", value))
        if inspect.isclass(value):
            found += [(f"squall.{name}.{member}", what) for member, what in _members(value)]
    return found


def python_page(made: str) -> str:
    """Every public name with its signature and its docstring."""
    lines = ["# Python", "", made, PYTHON_HEAD.strip()]
    for name, what in public():
        level = "##" if name.count(".") == 1 else "###"
        lines += ["", f"{level} {name}", ""]
        signature = _signature(name, what)
        if signature:
            lines += ["```text", signature, "```", ""]
        lines.append(_said(what))
    return "\n".join(lines) + "\n"


def _members(cls: type) -> Iterator[tuple[str, Any]]:
    # The methods of a class that has many stand in files of their own, each a class below it; some are those of two classes.
    parts = [part for part in cls.__mro__ if issubclass(part, (Chain, SharedObject))] or [cls]
    for name, what in (item for part in parts for item in vars(part).items()):
        shown = callable(what) or isinstance(what, (staticmethod, classmethod, property))
        if shown and not name.startswith("_") and name not in _NOT_FOR_USERS:
            yield name, what.__func__ if isinstance(what, (staticmethod, classmethod)) else what
    yield from _VERBS.get(cls, {}).items()


def _said(what: Any) -> str:
    text = inspect.cleandoc(getattr(what, "__doc__", None) or "")
    return re.sub(r"(?<!\n)\n(?!\n)", "\n", text)


def _signature(name: str, what: Any) -> str:
    target: Callable[..., Any] | None = what if callable(what) else None
    if target is None:
        return ""
    try:
        shown = inspect.signature(target)
    except (TypeError, ValueError):
        return ""
    plain = [parameter.replace(annotation=parameter.empty) for parameter in shown.parameters.values()]
    plain = [parameter for parameter in plain if parameter.name not in {"self", "cls", "later"}]
    return f"{name.removeprefix('squall.')}{shown.replace(parameters=plain, return_annotation=shown.empty)}"


def _commands(command: click.Command, name: str) -> Iterator[tuple[str, click.Command, str]]:
    settings = {**command.context_settings, "max_content_width": _WIDTH, "terminal_width": _WIDTH}
    context = click.Context(command, info_name=name, **settings)
    yield name, command, command.get_help(context).rstrip()
    if isinstance(command, click.Group):
        for child in command.list_commands(context):
            found = command.get_command(context, child)
            assert found is not None
            yield from _commands(found, f"{name} {child}")


def _first(command: click.Command) -> str:
    return inspect.cleandoc(command.help or "").partition("\n")[0].partition(". ")[0].rstrip(".:") + "."


def _anchor(name: str) -> str:
    return name.replace(" ", "-")
