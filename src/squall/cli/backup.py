"""`squall backup`: a copy of the record, made while the server runs or not."""

import time
from contextlib import closing, suppress
from pathlib import Path

import click

from squall.cli.asking import require_own_server
from squall.cli.screen import say, say_json
from squall.model.errors import FeatureUnavailable, StateDirectoryBusy
from squall.settings.options import read_options
from squall.settings.paths import StatePaths, find_state


@click.command()
@click.argument("path", required=False, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def backup(*, path: Path | None, as_json: bool) -> None:
    """Copy the record of calls into the new file PATH, or into the folder of backups; it is read through before it counts.

    The server may run, and goes on. Values above some MiB, logs and images are no part of it.
    """
    from squall.state.sqlite_backup import back_up, backup_directory, name_for

    require_own_server("squall backup")
    paths = find_state()
    require_file("squall backup", paths)
    _check_at_rest(paths.database)
    to = (path or backup_directory(paths.database) / name_for(time.time())).absolute()
    back_up(paths.database, to)
    say_json({"backup": str(to)}) if as_json else say(f"the record is in {to}")


def _check_at_rest(database: Path) -> None:
    """A server has looked for damage at its start; where none runs it is looked for now."""
    from squall.state.sqlite_file import check_whole, lock_directory

    with suppress(StateDirectoryBusy), closing(lock_directory(database)):
        check_whole(database)


def require_file(command: str, paths: StatePaths) -> None:
    """Raise FeatureUnavailable where the record is in a database that somebody else keeps."""
    database = read_options(paths.config).database
    if database:
        raise FeatureUnavailable(
            f"`{command}` is for a record in SQLite, and this one is in {database}",
            remedy=f"use that database's own tools: `pg_dump --format=custom --file=record.dump {database}`, and `pg_restore`",
            feature="backup",
        )
