"""Conda channel: packages made on the spot, and a server on loopback that has them, as a company's own would."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.server
import io
import json
import os
import shutil
import sys
import sysconfig
import tarfile
import threading
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import zstandard

from squall.images.python.contents import belongs
from tests.http_server import http_server

SUBDIR = "linux-64" if os.uname().machine == "x86_64" else f"linux-{os.uname().machine}"
PLACEHOLDER = "/a_place_that_no_environment_has" + "_placehold" * 12
"""What stands in the files of packages for the environment that they will lie in."""


class Channel:
    """A directory of packages. Its name is the last part of its path."""

    def __init__(self, top: Path) -> None:
        self.top = top
        for subdir in (SUBDIR, "noarch"):
            (top / subdir).mkdir(parents=True, exist_ok=True)
            self._write(subdir, self.listed(subdir))

    def add(
        self,
        name: str,
        version: str,
        files: Mapping[str, bytes | str],
        *,
        needs: tuple[str, ...] = (),
        links: Mapping[str, str] = MappingProxyType({}),
        noarch: bool = False,
    ) -> Path:
        """A package in the form of today. links: where each leads. noarch: pure Python, whose files are below site-packages/.

        Files below bin/ are executable; where a file holds PLACEHOLDER, it is said to.
        """
        subdir = "noarch" if noarch else SUBDIR
        said = {
            "name": name,
            "version": version,
            "build": "0",
            "build_number": 0,
            "subdir": subdir,
            "depends": list(needs),
            "timestamp": 1_700_000_000_000,
            **({"noarch": "python"} if noarch else {}),
        }
        raw = {path: text.encode() if isinstance(text, str) else text for path, text in files.items()}
        paths = [
            *(_path(*one) for one in raw.items()),
            *({"_path": one, "path_type": "softlink"} for one in links),
        ]
        info = {
            "info/index.json": json.dumps(said),
            "info/paths.json": json.dumps({"paths": paths, "paths_version": 1}),
            "info/about.json": "{}",
            "info/files": "\n".join(raw),
        }
        if noarch:
            info["info/link.json"] = json.dumps({"noarch": {"type": "python"}, "package_metadata_version": 1})
        stem = f"{name}-{version}-0"
        package = self.top / subdir / f"{stem}.conda"
        with zipfile.ZipFile(package, "w") as archive:
            archive.writestr("metadata.json", '{"conda_pkg_format_version": 2}')
            archive.writestr(f"pkg-{stem}.tar.zst", _packed(raw, links))
            archive.writestr(
                f"info-{stem}.tar.zst", _packed({path: text.encode() for path, text in info.items()})
            )
        self.list(package, said)
        return package

    def add_python(self) -> None:
        """This Python, as a package: what runs the tests is what the environment will have."""
        prefix, version = Path(sys.base_prefix), ".".join(map(str, sys.version_info[:3]))
        minor = f"python{version.rpartition('.')[0]}"
        files: dict[str, bytes | str] = {}
        for here, _, names in os.walk(prefix / "lib", followlinks=False):
            for name in names:
                path = Path(here, name)
                inside = str(path.relative_to(prefix))
                if belongs(inside) and path.is_file():
                    files[inside] = path.read_bytes()
        if "posix_local" in sysconfig.get_scheme_names():
            _as_its_makers_meant(files, minor)
        library = prefix / "lib" / (sysconfig.get_config_var("INSTSONAME") or "")
        if library.is_file():
            files[f"lib/{library.name}"] = library.read_bytes()
        program = _beside_its_library((prefix / "bin" / minor).read_bytes(), prefix)
        for name in (minor, "python3", "python"):
            files[f"bin/{name}"] = program
        # A second name for its library, as Pythons of conda have it.
        self.add("python", version, files, links={"lib/python3.1": minor})

    def add_basics(self) -> None:
        """What every environment begins with: Python, and stand-ins for pip and micromamba."""
        self.add_python()
        self.add("micromamba", "2.0.0", {"bin/micromamba": f"#!/bin/sh\necho 2.0.0 at {PLACEHOLDER}\n"})
        self.add("pip", "24.0", _wheel("pip", "24.0", "PIP = 1\n"), needs=("python",), noarch=True)

    def add_module(self, name: str, version: str, text: str, *, needs: tuple[str, ...] = ("python",)) -> Path:
        """A module of pure Python, as a package without a platform."""
        return self.add(name, version, _wheel(name, version, text), needs=needs, noarch=True)

    def list(self, package: Path, said: Mapping[str, Any]) -> None:
        """Has the channel list a package, with its digests."""
        data = package.read_bytes()
        digests = {"md5": hashlib.md5(data).hexdigest(), "sha256": hashlib.sha256(data).hexdigest()}
        whole = self.listed(package.parent.name)
        whole["packages.conda"][package.name] = {**said, **digests, "size": len(data)}
        self._write(package.parent.name, whole)

    def listed(self, subdir: str) -> dict[str, Any]:
        """What the channel lists."""
        path = self.top / subdir / "repodata.json"
        if not path.exists():
            return {"info": {"subdir": subdir}, "packages": {}, "packages.conda": {}, "repodata_version": 1}
        found: dict[str, Any] = json.loads(path.read_text())
        return found

    def lie(self, package: str) -> None:
        """Has the channel announce other bytes than it has."""
        for subdir in (SUBDIR, "noarch"):
            whole = self.listed(subdir)
            if package in whole["packages.conda"]:
                whole["packages.conda"][package]["sha256"] = "0" * 64
                self._write(subdir, whole)

    def copied(self, name: str) -> Channel:
        """Another channel beside this one, with the same packages."""
        shutil.copytree(self.top, self.top.parent / name)
        return Channel(self.top.parent / name)

    def _write(self, subdir: str, whole: Mapping[str, Any]) -> None:
        (self.top / subdir / "repodata.json").write_text(json.dumps(whole))


class Served:
    """A server of channels. address: where they lie; asked: the paths that it was asked for."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.asked: list[str] = []


@contextlib.contextmanager
def served(top: Path, *, login: str = "", token: str = "", stops_at: str = "") -> Iterator[Served]:
    """A server of the channels below `top` while it lasts.

    login, token: what it lets in, "user:password" or what follows /t/. stops_at: the name of a file of which only some bytes come.
    """
    wanted = "Basic " + base64.b64encode(login.encode()).decode()

    class Pages(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(top))

        def send_head(self) -> Any:
            found.asked.append(self.path)
            said = f"/t/{token}/"
            if (login and self.headers.get("Authorization") != wanted) or (
                token and not self.path.startswith(said)
            ):
                self.send_response(401)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return None
            self.path = self.path.replace(said, "/", 1) if token else self.path
            if stops_at and self.path.endswith(stops_at):
                self.send_response(200)
                self.send_header("Content-Length", "1000000")
                self.end_headers()
                self.wfile.write(b"PK")
                ended.wait()
                return None
            return super().send_head()

        def log_message(self, *_: object) -> None:
            pass

    ended = threading.Event()
    with http_server(Pages) as address:
        found = Served(f"http://{address}")
        try:
            yield found
        finally:
            ended.set()


def digests(package: Path) -> tuple[str, str]:
    """The sha256 and the md5 of a package file."""
    data = package.read_bytes()
    return hashlib.sha256(data).hexdigest(), hashlib.md5(data).hexdigest()


def _as_its_makers_meant(files: dict[str, bytes | str], minor: str) -> None:
    """Makes a Python of Debian's, which installs elsewhere and looks elsewhere than others, one that conda could have."""
    sysconfig_py = files[f"lib/{minor}/sysconfig.py"]
    assert isinstance(sysconfig_py, bytes)
    # As in an environment of it, for which it drops its ways.
    files[f"lib/{minor}/sysconfig.py"] = sysconfig_py.replace(b'hasattr(sys, "real_prefix")', b"True")
    packages = f'f"{{sys.prefix}}/lib/{minor}/site-packages"'
    files[f"lib/{minor}/sitecustomize.py"] = f"import site, sys\nsite.addsitedir({packages})\n"


def _beside_its_library(program: bytes, prefix: Path) -> bytes:
    """A program that finds its library from where it lies: one that was built to be shared names the whole path of it."""
    old, new = f"{prefix}/lib\0".encode(), b"$ORIGIN/../lib\0"
    # The first is the one that the loader reads; others are of the program's own.
    return program.replace(old, new.ljust(len(old), b"\0"), 1) if len(old) >= len(new) else program


def _wheel(name: str, version: str, text: str) -> dict[str, bytes | str]:
    info = f"site-packages/{name}-{version}.dist-info"
    return {
        f"site-packages/{name}/__init__.py": text,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/INSTALLER": "conda\n",
        f"{info}/RECORD": f"{name}/__init__.py,,\n{name}-{version}.dist-info/METADATA,,\n{name}-{version}.dist-info/RECORD,,\n",
    }


def _path(path: str, data: bytes) -> dict[str, Any]:
    said: dict[str, Any] = {
        "_path": path,
        "path_type": "hardlink",
        "size_in_bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    if PLACEHOLDER.encode() in data:
        said |= {"prefix_placeholder": PLACEHOLDER, "file_mode": "binary" if b"\0" in data else "text"}
    return said


def _packed(files: Mapping[str, bytes], links: Mapping[str, str] = MappingProxyType({})) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for path, data in files.items():
            member = tarfile.TarInfo(path)
            member.size, member.mtime = len(data), 1_700_000_000
            member.mode = 0o755 if path.startswith("bin/") else 0o644
            archive.addfile(member, io.BytesIO(data))
        for path, target in links.items():
            member = tarfile.TarInfo(path)
            member.type, member.linkname = tarfile.SYMTYPE, target
            archive.addfile(member)
    return zstandard.ZstdCompressor(level=1).compress(packed.getvalue())
