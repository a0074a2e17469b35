"""`squall profile`: names for servers, each with its token."""

import click

from squall.cli.screen import plain, say, say_json, say_table
from squall.cli.secret_input import read_secret
from squall.model.access import read_token
from squall.settings.client import read_server
from squall.settings.profiles import Profile, profiles_file, read_profiles, write_profiles


@click.group()
def profile() -> None:
    """Name servers on other machines, and choose which one is used."""


@profile.command("add")
@click.argument("name")
@click.option("--server", required=True, help="HOST:PORT, wss://HOST/PATH, or unix:/path/to/server.sock.")
@click.option(
    "--trust", type=click.Choice(["own", "system"]), default="own", help="Whose certificate it has."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def add(name: str, *, server: str, trust: str, as_json: bool) -> None:
    """Name a server. Its token is read from SQUALL_TOKEN, or else asked for, or read from standard input.

    The first profile is the active one: `squall run` and every program of this user use its server from then on.
    """
    token = ""
    if not server.startswith(("/", "unix:")):
        token = str(read_token(read_secret("SQUALL_TOKEN", "token")))
    read_server(server, token=token, trust=trust, said_by="--server")
    path = profiles_file()
    profiles = read_profiles(path).having(Profile(name=name, server=server, token=token, trust=trust))
    write_profiles(path, profiles)
    if as_json:
        say_json({"added": name, "active": profiles.active})
    else:
        say(f"added {plain(name)}; active: {plain(profiles.active)}")


@profile.command("activate")
@click.argument("name", required=False, default="")
@click.option("--none", "nothing", is_flag=True, help="Use this machine's own server.")
def activate(name: str, *, nothing: bool) -> None:
    """Use this profile's server wherever SQUALL_SERVER and SQUALL_PROFILE name none."""
    if nothing == bool(name):
        raise click.UsageError("give the name of a profile, or --none")
    path = profiles_file()
    write_profiles(path, read_profiles(path).using(name))
    say(f"active: {plain(name)}" if name else "active: this machine's own server")


@profile.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def list_(*, as_json: bool) -> None:
    """List the profiles, without their tokens."""
    profiles = read_profiles(profiles_file())
    rows = [
        {"name": one.name, "server": one.server, "trust": one.trust, "active": one.name == profiles.active}
        for one in profiles.known
    ]
    if as_json:
        say_json({"profiles": rows})
        return
    say_table(
        [row | {"active": "*" if row["active"] else "", "name": plain(row["name"])} for row in rows],
        ("active", "name", "server"),
        empty="no profiles; `squall profile add NAME --server HOST:PORT` makes one",
    )


@profile.command("remove")
@click.argument("name")
def remove(name: str) -> None:
    """Forget a profile and its token."""
    path = profiles_file()
    write_profiles(path, read_profiles(path).without(name))
    say(f"removed {plain(name)}")
