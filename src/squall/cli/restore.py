"""`squall restore`: a backup in the record's place."""

from datetime import UTC, datetime
from pathlib import Path

import click

from squall.cli.asking import require_own_server
from squall.cli.backup import require_file
from squall.cli.screen import say, say_json, say_table
from squall.model.errors import NotFoundError, UsageError
from squall.settings.paths import StatePaths, find_state


@click.command()
@click.argument("path", required=False, type=click.Path(path_type=Path))
@click.option("--latest", is_flag=True, help="Take the newest backup that was made here.")
@click.option(
    "--cut", is_flag=True, help="Keep the record, and drop what was committed after the damage in its log."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def restore(*, path: Path | None, latest: bool, cut: bool, as_json: bool) -> None:
    """Put a backup in the record's place; without PATH or an option, list the backups.

    No server may run. The backup is read through first, and the files that it replaces stay beside it, in a folder
    whose name begins with `damaged-`.
    """
    require_own_server("squall restore")
    paths = find_state()
    require_file("squall restore", paths)
    if (path is not None) + latest + cut > 1:
        raise UsageError(
            "give one of PATH, --latest and --cut", remedy="`squall restore --help` says what each does"
        )
    if path is None and not latest and not cut:
        _list(paths, as_json=as_json)
        return
    chosen = None if cut else path or _latest(paths)
    aside = _put_back(paths, chosen)
    if as_json:
        say_json(
            {
                "restored": None if chosen is None else str(chosen),
                "aside": None if aside is None else str(aside),
            }
        )
        return
    say(
        "the record was cut where it is damaged"
        if chosen is None
        else f"the record is that of {chosen} again"
    )
    if aside is not None:
        say(f"what was there before is in {aside}")


def _put_back(paths: StatePaths, chosen: Path | None) -> Path | None:
    from squall.state.sqlite_backup import check_backup, cut_log, put_back
    from squall.state.sqlite_file import lock_directory

    lock = lock_directory(paths.database)
    try:
        if chosen is None:
            return cut_log(paths.database)
        check_backup(chosen)
        return put_back(chosen.absolute(), paths.database)
    finally:
        lock.close()


def _latest(paths: StatePaths) -> Path:
    from squall.state.sqlite_backup import backup_directory, backups_in

    directory = backup_directory(paths.database)
    for one in backups_in(directory):
        return one.path
    raise NotFoundError(
        f"no backup was made in {directory}", remedy="give the PATH of one: `squall restore PATH`"
    )


def _list(paths: StatePaths, *, as_json: bool) -> None:
    from squall.state.sqlite_backup import backup_directory, backups_in

    rows = [
        {
            "made": datetime.fromtimestamp(one.at_s, UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
            "why": one.before.removeprefix("-").replace("-", " ") or "daily",
            "path": str(one.path),
        }
        for one in backups_in(backup_directory(paths.database))
    ]
    say_json(rows) if as_json else say_table(rows, ("made", "why", "path"), empty="no backup was made here")
