from __future__ import annotations

import asyncio
import base64
import json
import os
import time
import traceback
from pathlib import Path

import pytest

from squall.images.registry.credentials import Credentials, IdentityToken, Keychain, Login, config_files
from squall.model.errors import Error, FeatureUnavailable, InvalidError

HOST = "registry.example:5000"
HUB = "https://index.docker.io/v1/"
SECRET = "hunter22canary"


def auth(user: str = "ada", password: str = SECRET) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


def found(environ: dict[str, str], registry: str = HOST, repository: str = "team/app") -> Credentials | None:
    return asyncio.run(Keychain(environ, helper_s=5.0).find(registry, repository))


def docker(place: Path, config: object) -> dict[str, str]:
    place.mkdir(exist_ok=True)
    text = config if isinstance(config, str) else json.dumps(config)
    (place / "config.json").write_text(text, encoding="utf-8")
    return {"DOCKER_CONFIG": str(place), "PATH": f"{place}:{os.defpath}"}


def helper(place: Path, name: str, script: str) -> None:
    program = place / f"docker-credential-{name}"
    program.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    program.chmod(0o700)


def test_what_was_given_goes_before_every_file(tmp_path: Path) -> None:
    environ = docker(tmp_path, {"auths": {HOST: auth("file")}})
    keychain = Keychain(environ, {HOST: IdentityToken("given")})
    assert asyncio.run(keychain.find(HOST, "a")) == IdentityToken("given")
    assert found(environ) == Login("file", SECRET)


def test_files_are_looked_at_in_their_order(tmp_path: Path) -> None:
    runtime, config, home = tmp_path / "run", tmp_path / "config", tmp_path / "user"
    places = {
        runtime / "containers/auth.json": "runtime",
        config / "containers/auth.json": "config",
        home / ".docker/config.json": "docker",
    }
    for path, user in places.items():
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps({"auths": {HOST: auth(user)}}), encoding="utf-8")
    environ = {"XDG_RUNTIME_DIR": str(runtime), "XDG_CONFIG_HOME": str(config), "HOME": str(home)}
    assert config_files(environ) == tuple(places)
    for path, user in places.items():
        assert found(environ) == Login(user, SECRET)
        path.unlink()
    assert found(environ) is None
    only = tmp_path / "only.json"
    only.write_text(json.dumps({"auths": {HOST: auth("only")}}), encoding="utf-8")
    assert found({**environ, "REGISTRY_AUTH_FILE": str(only)}) == Login("only", SECRET)
    assert found({}) is None


@pytest.mark.parametrize("key", [HUB, "docker.io", "index.docker.io", "https://registry-1.docker.io/v2/"])
def test_the_default_registry_has_many_spellings(key: str, tmp_path: Path) -> None:
    assert found(docker(tmp_path, {"auths": {key: auth()}}), "docker.io", "library/debian") == Login(
        "ada", SECRET
    )


@pytest.mark.parametrize(
    "key", [HOST, f"https://{HOST}", f"http://{HOST}/", f"https://{HOST}/v2/", HOST.upper()]
)
def test_a_registry_has_spellings_too(key: str, tmp_path: Path) -> None:
    environ = docker(tmp_path, {"auths": {key: auth()}})
    assert found(environ) == Login("ada", SECRET)
    assert found(environ, "registry.example") is None


def test_the_longest_path_that_leads_to_the_repository_wins(tmp_path: Path) -> None:
    entries = {HOST: auth("host"), f"{HOST}/team": auth("team"), f"{HOST}/team/app": auth("app")}
    environ = docker(tmp_path, {"auths": entries})
    assert found(environ, repository="team/app") == Login("app", SECRET)
    assert found(environ, repository="team/else") == Login("team", SECRET)
    assert found(environ, repository="teamwork/app") == Login("host", SECRET)


def test_each_form_of_an_entry_is_read(tmp_path: Path) -> None:
    for entry, expected in (
        ({"identitytoken": "long", **auth()}, IdentityToken("long")),
        ({"username": "ada", "password": "p:w"}, Login("ada", "p:w")),
        (auth("ada", "with:colon"), Login("ada", "with:colon")),
        ({}, None),
    ):
        assert found(docker(tmp_path, {"auths": {HOST: entry}})) == expected


@pytest.mark.parametrize(
    "config",
    [
        SECRET,
        "[]",
        "[" * 100_000,
        "\xff",
        {"auths": {HOST: {"auth": f"not base64 {SECRET}"}}},
        {"auths": {HOST: {"auth": base64.b64encode(SECRET.encode()).decode()}}},
        {"auths": {HOST: auth("", SECRET)}},
        {"auths": {HOST: auth("a\nb", SECRET)}},
        {"credsStore": f"../../{SECRET}"},
        {"credHelpers": {HOST: "a b"}},
        {"credsStore": 5},
        " " * (2 << 20),
    ],
    ids=lambda config: str(config)[:40],
)
def test_a_file_that_makes_no_sense_is_named_and_not_quoted(config: object, tmp_path: Path) -> None:
    with pytest.raises(InvalidError, match=r"config\.json") as caught:
        found(docker(tmp_path, config))
    assert quotes_nothing(caught.value)


def test_what_else_is_in_a_file_is_passed_over(tmp_path: Path) -> None:
    configs: list[dict[str, object]] = [
        {},
        {"auths": []},
        {"auths": {HOST: 5}},
        {"credHelpers": {"other": "x"}, "credsStore": ""},
    ]
    for config in configs:
        assert found(docker(tmp_path, config)) is None


def test_a_helper_is_told_the_host_on_its_input_and_nothing_in_its_arguments(tmp_path: Path) -> None:
    environ = docker(tmp_path, {"credHelpers": {HOST: "mine"}, "credsStore": "other"})
    script = f"""echo "$@" > {tmp_path}/arguments; cat > {tmp_path}/input
echo '{{"ServerURL": "x", "Username": "ada", "Secret": "{SECRET}"}}'"""
    helper(tmp_path, "mine", script)
    assert found(environ) == Login("ada", SECRET)
    assert (tmp_path / "arguments").read_text() == "get\n"
    assert (tmp_path / "input").read_text() == HOST


def test_the_default_registry_is_told_as_its_address_and_a_token_is_known_as_one(tmp_path: Path) -> None:
    environ = docker(tmp_path, {"credsStore": "mine"})
    helper(tmp_path, "mine", f'cat > {tmp_path}/input; echo \'{{"Username": "<token>", "Secret": "long"}}\'')
    assert found(environ, "docker.io", "library/debian") == IdentityToken("long")
    assert (tmp_path / "input").read_text() == HUB


def test_a_helper_that_has_none_leaves_it_to_the_file(tmp_path: Path) -> None:
    environ = docker(tmp_path, {"credsStore": "mine", "auths": {HOST: auth("file")}})
    helper(tmp_path, "mine", "echo 'credentials not found in native keychain'; exit 1")
    assert found(environ) == Login("file", SECRET)
    assert found(environ, "other.example") is None


@pytest.mark.parametrize(
    ("script", "why"),
    [
        (f"echo {SECRET}; echo {SECRET} >&2; exit 3", "status 3"),
        (f"echo {SECRET}", "not JSON"),
        ("echo '{}'", "no Username"),
        (f'echo \'{{"Username": "a:b", "Secret": "{SECRET}"}}\'', "colon"),
        (f"yes {SECRET}", "more than"),
        ("kill -9 $$", "status -9"),
    ],
)
def test_a_helper_that_fails_is_named_and_not_quoted(script: str, why: str, tmp_path: Path) -> None:
    environ = docker(tmp_path, {"credsStore": "mine"})
    helper(tmp_path, "mine", script)
    with pytest.raises(InvalidError, match=f"docker-credential-mine.*{why}") as caught:
        found(environ)
    assert quotes_nothing(caught.value)


def test_a_helper_that_hangs_is_ended_with_what_it_started(tmp_path: Path) -> None:
    environ = docker(tmp_path, {"credsStore": "mine"})
    helper(tmp_path, "mine", f"sleep 60 & echo $! > {tmp_path}/pid; wait")
    began = time.monotonic()
    with pytest.raises(InvalidError, match="did not end within 1 s"):
        asyncio.run(Keychain(environ, helper_s=1.0).find(HOST, "a"))
    assert time.monotonic() - began < 10
    pid = int((tmp_path / "pid").read_text())
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and _runs(pid):
        time.sleep(0.01)
    assert not _runs(pid)


def test_a_helper_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(FeatureUnavailable, match="docker-credential-mine"):
        found(docker(tmp_path, {"credsStore": "mine"}))


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def quotes_nothing(error: Error) -> bool:
    text = "".join(traceback.format_exception(error)) + repr(error.details)
    return SECRET not in text
