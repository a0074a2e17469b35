"""`squall migrate`: the record in the form that another version of Squall reads."""

import time
from contextlib import ExitStack

import click

from squall.cli.asking import require_own_server
from squall.cli.screen import say, say_json
from squall.model.errors import InvalidError
from squall.settings.options import Options, read_options
from squall.settings.paths import StatePaths, find_state


@click.command()
@click.option("--to", "version", type=int, required=True, metavar="SCHEMA", help="The schema to go back to.")
@click.option("--backed-up", is_flag=True, help="Say that a record in Postgres has been backed up.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def migrate(*, version: int, backed_up: bool, as_json: bool) -> None:
    """Take the record back to an older SCHEMA, for an older version of Squall to start with.

    No server may run. A record in SQLite is backed up first. Going forward needs no command: each start does it,
    after a backup. What only the newer schema can hold is dropped.
    """
    require_own_server("squall migrate")
    paths = find_state()
    options = read_options(paths.config)
    now = (
        _in_postgres(options, version, backed_up=backed_up) if options.database else _in_file(paths, version)
    )
    say_json({"schema": now}) if as_json else say(f"the record has schema {now}")


def _in_file(paths: StatePaths, version: int) -> int:
    from squall.state.migrate import migrate_back
    from squall.state.sqlite_backup import back_up, backup_directory, name_for
    from squall.state.sqlite_file import DatabaseOptions, lock_directory, open_writer

    with ExitStack() as held:
        held.callback(lock_directory(paths.database).close)
        writer = open_writer(paths.database, DatabaseOptions())
        held.callback(writer.close)
        back_up(paths.database, backup_directory(paths.database) / name_for(time.time(), before=version))
        return migrate_back(writer, version)


def _in_postgres(options: Options, version: int, *, backed_up: bool) -> int:
    from squall.server.main import postgres_address
    from squall.state.migrate import migrate_back
    from squall.state.postgres_database import Patience, PostgresDatabase

    if not backed_up:
        raise InvalidError(
            f"the record in {options.database} is not backed up by Squall",
            remedy=f"back it up, as with `pg_dump --format=custom --file=record.dump {options.database}`, and then "
            f"run `squall migrate --to {version} --backed-up`",
        )
    writer = PostgresDatabase(postgres_address(options), Patience()).open_writer()
    try:
        return migrate_back(writer, version)
    finally:
        writer.close()
