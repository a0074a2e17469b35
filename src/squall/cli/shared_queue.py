"""`squall queue`: make Queues, look into them, clear and delete them."""

from itertools import islice

import click

from squall.cli.asking import any_client
from squall.cli.screen import plain, say, say_json, say_table
from squall.cli.sharing import IN_ENVIRONMENT, delete_objects, jsonable, make_object, short, show_objects
from squall.model.errors import UsageError
from squall.model.shared import MOST_AT_ONCE, SharedKind
from squall.sdk.face import PagesFace
from squall.sdk.shared_queue import Queue
from squall.wire.plain_value import plain_value

_PARTITION = click.option("-p", "--partition", default=None, metavar="NAME", help="Of this partition.")


@click.group()
def queue() -> None:
    """Make Queues, look into them, clear and delete them.

    Items are shown as far as they are Python's own data; no code that travels in them is run.
    """


@queue.command("create")
@click.argument("name", metavar="NAME")
@IN_ENVIRONMENT
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def create(*, name: str, environment: str | None, as_json: bool) -> None:
    """Make the Queue NAME, where there is none."""
    make_object(Queue.objects, name, environment, as_json=as_json)


@queue.command("list")
@IN_ENVIRONMENT
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
def list_(*, environment: str | None, as_json: bool) -> None:
    """List the Queues, how much each holds, and how many wait there for items or for room."""
    show_objects(
        SharedKind.QUEUE, ("name", "len", "partitions", "size", "age", "waits"), environment, as_json=as_json
    )


@queue.command("peek")
@click.argument("name", metavar="NAME")
@_PARTITION
@click.option("-n", "--lines", default=1, show_default=True, type=click.IntRange(1), help="At most so many.")
@IN_ENVIRONMENT
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
def peek(*, name: str, partition: str | None, lines: int, environment: str | None, as_json: bool) -> None:
    """Show the first items, which stay in the Queue."""
    any_client()
    fetched = PagesFace(Queue.from_name(name, environment_name=environment).packed_items)(
        partition, most=min(lines, MOST_AT_ONCE)
    )
    found = [plain_value(value) for value in islice(fetched, lines)]
    if as_json:
        say_json([jsonable(value) for value in found])
    else:
        rows = [{"item": short(value)} for value in found]
        say_table(rows, ("item",), empty=f"nothing is in {plain(name)}")


@queue.command("len")
@click.argument("name", metavar="NAME")
@_PARTITION
@click.option("--total", is_flag=True, help="Of all partitions together.")
@IN_ENVIRONMENT
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def len_(*, name: str, partition: str | None, total: bool, environment: str | None, as_json: bool) -> None:
    """Show how many items there are."""
    _check_one("--total", partition, wanted=total)
    any_client()
    count = Queue.from_name(name, environment_name=environment).len(partition=partition, total=total)
    if as_json:
        say_json({"name": name, "partition": partition, "total": total, "len": count})
    else:
        say(str(count))


@queue.command("clear")
@click.argument("name", metavar="NAME")
@_PARTITION
@click.option("--all", "every", is_flag=True, help="Of all partitions.")
@IN_ENVIRONMENT
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def clear(*, name: str, partition: str | None, every: bool, environment: str | None, as_json: bool) -> None:
    """Remove the items of a partition."""
    _check_one("--all", partition, wanted=every)
    any_client()
    Queue.from_name(name, environment_name=environment).clear(partition=partition, all=every)
    if as_json:
        say_json({"cleared": name, "partition": partition, "all": every})
    else:
        say(f"cleared {plain(name)}")


@queue.command("delete")
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@IN_ENVIRONMENT
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def delete(*, names: tuple[str, ...], environment: str | None, as_json: bool) -> None:
    """Delete Queues with all that they hold."""
    delete_objects(Queue.objects, names, environment, as_json=as_json)


def _check_one(flag: str, partition: str | None, *, wanted: bool) -> None:
    if wanted and partition is not None:
        raise UsageError(f"{flag} is about all partitions", remedy=f"leave out {flag}, or --partition")
