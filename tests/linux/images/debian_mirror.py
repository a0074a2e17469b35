"""Debian mirror: what apt fetches of the distribution, given out on loopback as a mirror would."""

from __future__ import annotations

import http.server
import lzma
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from squall.blobs.digest import digest_of
from squall.images.debian.catalog import Catalog
from squall.images.debian.closure import packages_for
from squall.images.debian.nouns import MIRRORS, Package, WantedDebian
from tests.http_server import http_server

_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
_PLACES = tuple(
    (mirror, suite)
    for mirror, suites in zip(MIRRORS, (("", "-updates"), ("-security",)), strict=True)
    for suite in suites
)


class Apt:
    """The real apt-get with a state of its own below `room`, for one release."""

    def __init__(self, room: Path, release: str) -> None:
        self.lists = room / "lists"
        self.debs = room / "debs"
        for made in (self.lists / "partial", self.debs / "partial"):
            made.mkdir(parents=True)
        sources = [f"deb [signed-by={_KEYRING}] {m} {release}{s} main\n" for m, s in _PLACES]
        (room / "sources.list").write_text("".join(sources))
        (room / "status").touch()
        settings = {
            "Dir::Etc::sourcelist": str(room / "sources.list"),
            "Dir::Etc::sourceparts": "-",
            "Dir::State::Lists": str(self.lists),
            "Dir::State::status": str(room / "status"),
            "Dir::Cache::pkgcache": "",
            "Dir::Cache::srcpkgcache": "",
            "Acquire::GzipIndexes": "true",
            "Acquire::Languages": "none",
            # As they come, so that they still have the digests that the release says.
            "Acquire::IndexTargets::deb::Packages::KeepCompressedAs": "xz",
            "APT::Sandbox::User": "root",
        }
        self._config = room / "apt.conf"
        self._config.write_text("".join(f'{key} "{value}";\n' for key, value in settings.items()))

    def run(self, *words: str) -> None:
        env = {**os.environ, "APT_CONFIG": str(self._config), "LC_ALL": "C"}
        done = subprocess.run(
            ["apt-get", *words], cwd=self.debs, env=env, capture_output=True, text=True, check=False
        )
        if done.returncode:
            pytest.skip(f"no mirror gave apt what it asked for: {done.stderr[-300:]}")


@contextmanager
def debian_mirror(room: Path, wanted: WantedDebian) -> Iterator[str]:
    """The address of a server with all that a root needs; below it, each mirror has the folder that it has in the world."""
    apt = Apt(room, wanted.release)
    apt.run("update")
    catalog = Catalog()
    files: dict[str, Path] = {}
    for path in apt.lists.glob("*InRelease"):
        files["/" + _below(path)] = path
    for path in apt.lists.glob("*Packages.xz"):
        below = _below(path)
        folder = f"/{below.rpartition('/')[0]}"
        files[f"{folder}/Packages.xz"] = path
        files[f"{folder}/by-hash/SHA256/{digest_of(path.read_bytes())}"] = path
        reading = catalog.reading("/" + below.partition("/dists/")[0])
        reading.feed(lzma.decompress(path.read_bytes()))
        reading.end()
    packages = packages_for(catalog, wanted.packages)
    apt.run("download", *(f"{package.name}={package.version}" for package in packages))
    for package in packages:
        files[f"{package.at}/{package.filename}"] = apt.debs / _file_name(package)
    with _serving(files) as address:
        yield address


def _below(path: Path) -> str:
    """A path on the mirror by the name that apt gives it here."""
    hosts = {urlsplit(mirror).netloc for mirror in MIRRORS}
    host = next(host for host in hosts if path.name.startswith(host))
    return path.name.removeprefix(f"{host}_").replace("_", "/")


def _file_name(package: Package) -> str:
    return f"{package.name}_{package.version.replace(':', '%3a')}_{package.architecture}.deb"


@contextmanager
def _serving(files: dict[str, Path]) -> Iterator[str]:
    class Handler(http.server.SimpleHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def translate_path(self, path: str) -> str:
            # apt escapes what it need not.
            return str(files.get(unquote(path), room_of_nothing))

        def log_message(self, *args: object) -> None:
            pass

    room_of_nothing = Path("/nonexistent")
    with http_server(Handler) as address:
        yield f"http://{address}"
