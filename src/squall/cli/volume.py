"""`squall volume`: make volumes, look into them, change what is in them, go back to earlier versions."""

import json
import time
from typing import Any

import click

from squall.cli.amounts import size_text
from squall.cli.asking import any_client
from squall.cli.screen import age, plain, say, say_json, say_table, say_wrapped
from squall.cli.volume_options import AS_JSON, ENVIRONMENT, VERSION, which
from squall.cli.volume_transfer import get_files, put_files
from squall.sdk.blocking import run_blocking
from squall.sdk.environments import environment_of
from squall.sdk.lanes import ask
from squall.sdk.volume import FileEntry, FileType, Volume


@click.group("volume")
def volume() -> None:
    """Make volumes, look into them, change what is in them, go back to earlier versions.

    A PATH begins at the volume's own directory: /a/b and a/b are the same.
    """


volume.add_command(put_files)
volume.add_command(get_files)


@volume.command("create")
@click.argument("name", metavar="NAME")
@ENVIRONMENT
@AS_JSON
def create(*, name: str, environment: str | None, as_json: bool) -> None:
    """Make the volume NAME, where there is none."""
    any_client()
    Volume.objects.create(name, environment_name=environment)
    _say_done("created", name, as_json=as_json)


@volume.command("list")
@ENVIRONMENT
@click.option("--all", "everywhere", is_flag=True, help="Those of all environments.")
@AS_JSON
def list_volumes(*, environment: str | None, everywhere: bool, as_json: bool) -> None:
    """List the volumes, and how much each holds."""
    any_client()
    head = {"all": True} if everywhere else {"environment": environment_of(environment)}
    rows = json.loads(bytes(run_blocking(ask("volume.list", head)).payload))
    if as_json:
        say_json(rows)
        return
    now_s = time.time()
    shown = [
        row
        | {"files": row["entries"], "size": size_text(row["bytes"]), "age": age(now_s - row["created_s"])}
        | {"changed": age(now_s - row["changed_s"])}
        for row in rows
    ]
    columns = ("name", "environment") if everywhere else ("name",)
    say_table(
        shown,
        (*columns, "version", "files", "size", "changed", "age"),
        empty="no volumes: `squall volume create NAME` makes one",
    )


@volume.command("ls")
@click.argument("name", metavar="NAME")
@click.argument("path", metavar="PATH", default="/")
@click.option("-r", "--recursive", is_flag=True, help="With all that is in directories.")
@VERSION
@ENVIRONMENT
@AS_JSON
def ls(
    *, name: str, path: str, recursive: bool, version: str | None, environment: str | None, as_json: bool
) -> None:
    """List what is in a directory of a volume."""
    found = _found(name, environment).listdir(path, recursive=recursive, version=which(version))
    if as_json:
        say_json([_row(entry) for entry in found])
        return
    shown = [
        {
            "mode": _mode(entry),
            "size": size_text(entry.size) if entry.type is FileType.FILE else "",
            "changed": age(time.time() - entry.mtime),
            "path": _shown(entry),
        }
        for entry in found
    ]
    say_table(shown, ("mode", "size", "changed", "path"), empty="nothing is in there")


@volume.command("cp")
@click.argument("name", metavar="NAME")
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@click.argument("to", metavar="TO")
@click.option("-r", "--recursive", is_flag=True, help="Directories too, with all that is in them.")
@ENVIRONMENT
@AS_JSON
def cp(
    *, name: str, paths: tuple[str, ...], to: str, recursive: bool, environment: str | None, as_json: bool
) -> None:
    """Copy files within a volume to TO, or into it where that is a directory."""
    _found(name, environment).copy_files(paths, to, recursive=recursive)
    _say_paths("copied", paths, to, as_json=as_json)


@volume.command("mv")
@click.argument("name", metavar="NAME")
@click.argument("path", metavar="PATH")
@click.argument("to", metavar="TO")
@ENVIRONMENT
@AS_JSON
def mv(*, name: str, path: str, to: str, environment: str | None, as_json: bool) -> None:
    """Move a file or a directory within a volume to TO, or into it where that is a directory."""
    _found(name, environment).rename(path, to)
    _say_paths("moved", (path,), to, as_json=as_json)


@volume.command("rm")
@click.argument("name", metavar="NAME")
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@click.option("-r", "--recursive", is_flag=True, help="Directories too, with all that is in them.")
@ENVIRONMENT
@AS_JSON
def rm(*, name: str, paths: tuple[str, ...], recursive: bool, environment: str | None, as_json: bool) -> None:
    """Remove files of a volume: all that are named, or none."""
    _found(name, environment).remove_file(paths, recursive=recursive)
    _say_paths("removed", paths, None, as_json=as_json)


@volume.command("rename")
@click.argument("name", metavar="NAME")
@click.argument("to", metavar="TO")
@ENVIRONMENT
@AS_JSON
def rename(*, name: str, to: str, environment: str | None, as_json: bool) -> None:
    """Give the volume NAME another name; whoever has it mounted has it still."""
    any_client()
    Volume.objects.rename(name, to, environment_name=environment)
    if as_json:
        say_json({"renamed": name, "to": to})
    else:
        say(f"renamed {plain(name)} to {plain(to)}")


@volume.command("delete")
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@ENVIRONMENT
@AS_JSON
def delete(*, names: tuple[str, ...], environment: str | None, as_json: bool) -> None:
    """Delete volumes with all their versions."""
    any_client()
    for name in names:
        Volume.objects.delete(name, environment_name=environment)
        if not as_json:
            _say_done("deleted", name, as_json=False)
    if as_json:
        say_json({"deleted": list(names)})


@volume.command("history")
@click.argument("name", metavar="NAME")
@click.option(
    "-n", "--lines", default=100, show_default=True, type=click.IntRange(1), help="At most so many."
)
@ENVIRONMENT
@AS_JSON
def history(*, name: str, lines: int, environment: str | None, as_json: bool) -> None:
    """Show the versions of a volume that are kept, the newest first."""
    found = _found(name, environment).history()
    if as_json:
        say_json(
            [
                {
                    "version": one.number,
                    "parent": one.parent,
                    "made_s": one.made_s,
                    "files": one.entries,
                    "bytes": one.size_bytes,
                    "names": list(one.names),
                    "who": one.who,
                    "why": one.why,
                }
                for one in found[:lines]
            ]
        )
        return
    shown = [
        {
            "version": one.number,
            "names": ", ".join(one.names),
            "age": age(time.time() - one.made_s),
            "files": one.entries,
            "size": size_text(one.size_bytes),
            "by": one.who,
            "why": one.why,
        }
        for one in found[:lines]
    ]
    say_table(shown, ("version", "names", "age", "files", "size", "by", "why"), empty="")
    if len(found) > lines:
        say(f"... and {len(found) - lines:,} more", style="bright_black")


@volume.command("snapshot")
@click.argument("name", metavar="NAME")
@click.argument("label", metavar="LABEL")
@VERSION
@click.option("--delete", "gone", is_flag=True, help="Take the name LABEL away instead.")
@ENVIRONMENT
@AS_JSON
def snapshot(
    *, name: str, label: str, version: str | None, gone: bool, environment: str | None, as_json: bool
) -> None:
    """Give the newest version of a volume the name LABEL, and keep it for as long as it has that."""
    found = _found(name, environment)
    if gone:
        found.forget_snapshot(label)
        _say_done("forgot", label, as_json=as_json)
        return
    number = found.snapshot(label, version=which(version))
    if as_json:
        say_json({"label": label, "version": number})
    else:
        say(f"version {number} of {plain(name)} is called {plain(label)}")


@volume.command("rollback")
@click.argument("name", metavar="NAME")
@click.argument("to", metavar="VERSION")
@ENVIRONMENT
@AS_JSON
def rollback(*, name: str, to: str, environment: str | None, as_json: bool) -> None:
    """Have a volume hold what it did in an earlier VERSION, by its number or its name. That is a new version."""
    number = _found(name, environment).rollback(which(to) or 0)
    if as_json:
        say_json({"version": number})
    else:
        say_wrapped(f"{plain(name)} holds what it did in version {plain(to)}: that is version {number} now")


def _found(name: str, environment: str | None) -> Volume:
    any_client()
    return Volume.from_name(name, environment_name=environment)


def _row(entry: FileEntry) -> dict[str, Any]:
    told = {
        "path": entry.path,
        "type": str(entry.type),
        "size": entry.size,
        "mode": entry.mode,
        "mtime_s": entry.mtime,
    }
    return told | {"target": entry.target} if entry.type is FileType.LINK else told


def _mode(entry: FileEntry) -> str:
    kinds = {FileType.DIRECTORY: "d", FileType.LINK: "l", FileType.FIFO: "p"}
    signs = "".join(sign if entry.mode & 1 << 8 - at else "-" for at, sign in enumerate("rwxrwxrwx"))
    return kinds.get(entry.type, "-") + signs


def _shown(entry: FileEntry) -> str:
    if entry.type is FileType.LINK:
        return f"{entry.path} -> {entry.target}"
    return entry.path + ("/" if entry.type is FileType.DIRECTORY else "")


def _say_done(what: str, name: str, *, as_json: bool) -> None:
    if as_json:
        say_json({what: name})
    else:
        say(f"{what} {plain(name)}")


def _say_paths(what: str, paths: tuple[str, ...], to: str | None, *, as_json: bool) -> None:
    if as_json:
        say_json({what: list(paths)} | ({} if to is None else {"to": to}))
        return
    for path in paths:
        say(f"{what} {plain(path)}" + ("" if to is None else f" to {plain(to)}"))
