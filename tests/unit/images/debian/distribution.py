"""Distribution: small packages, and mirrors of them in memory, made as Debian makes them."""

from __future__ import annotations

import gzip
import hashlib
import io
import lzma
import tarfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import zstandard

from squall.blobs.digest import digest_of
from tests.unit.images.registry.hostile import Answer, Asked, Wire

RELEASE = "bookworm"
MADE = "Wed, 25 Nov 2026 02:10:59 UTC"
MADE_S = 1_795_572_659


@dataclass(frozen=True)
class Path:
    """An entry of an archive. kind: of tarfile."""

    name: str
    data: bytes = b""
    kind: bytes = tarfile.REGTYPE
    mode: int = 0o644
    target: str = ""
    uid: int = 0
    gid: int = 0
    xattrs: Mapping[str, str] = field(default_factory=dict)


def directory(name: str, mode: int = 0o755) -> Path:
    return Path(name, kind=tarfile.DIRTYPE, mode=mode)


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> Path:
    return Path(name, kind=kind, mode=0o777, target=target)


@dataclass(frozen=True)
class Deb:
    """A package before it is packed. packing: "xz", "zst", "gz" or "". more: further lines of its control file."""

    name: str
    version: str = "1.0-1"
    architecture: str = "amd64"
    paths: tuple[Path, ...] = ()
    files: Mapping[str, bytes] = field(default_factory=dict)
    packing: str = "xz"
    more: str = ""

    @property
    def control(self) -> str:
        more = self.more.strip("\n")
        return (
            f"Package: {self.name}\nVersion: {self.version}\nArchitecture: {self.architecture}\n"
            f"Maintainer: Somebody <somebody@example.com>\nDescription: a package\n of nobody\n"
            + (f"{more}\n" if more else "")
        )

    @property
    def filename(self) -> str:
        return f"pool/main/{self.name}/{self.name}_{self.version}_{self.architecture}.deb"

    def packed(self) -> bytes:
        return ar(*self.members().items())

    def members(self) -> dict[str, bytes]:
        scripts = {"preinst", "postinst", "prerm", "postrm"}
        control = [
            Path(f"./{name}", data, mode=0o755 if name in scripts else 0o644)
            for name, data in {"control": self.control.encode(), **self.files}.items()
        ]
        return {
            "debian-binary": b"2.0\n",
            _named("control.tar", self.packing): pack(tar([directory("./"), *control]), self.packing),
            _named("data.tar", self.packing): pack(tar([directory("./"), *self.paths]), self.packing),
        }


def tar(paths: Iterable[Path]) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path in paths:
            info = tarfile.TarInfo(path.name)
            info.type, info.mode, info.linkname = path.kind, path.mode, path.target
            info.uid, info.gid, info.size, info.mtime = path.uid, path.gid, len(path.data), 1_600_000_000
            info.pax_headers = {f"SCHILY.xattr.{name}": value for name, value in path.xattrs.items()}
            archive.addfile(info, io.BytesIO(path.data))
    return made.getvalue()


def ar(*members: tuple[str, bytes]) -> bytes:
    made = b"!<arch>\n"
    for name, data in members:
        made += f"{name:<16}{1_600_000_000:<12}{0:<6}{0:<6}{0o100644:<8o}{len(data):<10}`\n".encode()
        made += data + b"\n" * (len(data) % 2)
    return made


def pack(data: bytes, packing: str) -> bytes:
    match packing:
        case "xz":
            return lzma.compress(data)
        case "zst":
            return zstandard.ZstdCompressor().compress(data)
        case "gz":
            return gzip.compress(data, mtime=0)  # else its bytes tell when it was packed
        case _:
            return data


def base() -> list[Deb]:
    """What every root has at least."""
    return [
        Deb(
            "base-files",
            paths=(
                directory("./bin/"),
                directory("./etc/"),
                Path("./etc/debian_version", b"12.0\n"),
                directory("./usr/"),
                directory("./usr/bin/"),
            ),
            more="Essential: yes\nPre-Depends: awk",
        ),
        Deb(
            "mawk",
            paths=(directory("./usr/"), Path("./usr/bin/mawk", b"mawk", mode=0o755)),
            more="Provides: awk",
        ),
        Deb("apt", more="Depends: base-files (>= 1.0)"),
        Deb("ca-certificates", architecture="all", packing="gz"),
    ]


def index(debs: Iterable[Deb]) -> bytes:
    """The index of these packages."""
    return "\n".join(_entry(deb, deb.packed()) for deb in debs).encode()


def mirror(
    debs: Iterable[Deb],
    suite: str = RELEASE,
    *,
    under: str = "/debian",
    sign: Callable[[bytes], bytes] = bytes,
    **says: str,
) -> dict[str, bytes]:
    """All files of a mirror that has one suite, by their paths. sign: what makes an InRelease of a Release."""
    debs = list(debs)
    plain = index(debs)
    indexes = {
        "main/binary-amd64/Packages": plain,
        "main/binary-amd64/Packages.xz": pack(plain, "xz"),
        "main/binary-amd64/Packages.gz": pack(plain, "gz"),
    }
    release = release_of(indexes, suite, **says)
    del indexes["main/binary-amd64/Packages"]  # announced, and on no mirror
    folder = f"{under}/dists/{suite}"
    files = {f"{folder}/{path}": data for path, data in indexes.items()}
    for data in indexes.values():
        files[f"{folder}/main/binary-amd64/by-hash/SHA256/{digest_of(data)}"] = data
    files[f"{folder}/InRelease"] = sign(release)
    return files | {f"{under}/{deb.filename}": deb.packed() for deb in debs}


def with_index(files: Mapping[str, bytes], name: str, data: bytes) -> dict[str, bytes]:
    """The mirror, whose release knows of this index alone, as "Packages.xz"."""
    folder, path = f"/debian/dists/{RELEASE}", f"main/binary-amd64/{name}"
    others = {path: data for path, data in files.items() if not path.startswith(folder)}
    release = release_of({path: data}, RELEASE, Acquire_By_Hash="no")
    return {**others, f"{folder}/{path}": data, f"{folder}/InRelease": release}


def release_of(indexes: Mapping[str, bytes], suite: str, **says: str) -> bytes:
    fields = {
        "Origin": "Debian",
        "Suite": f"stable-of-{suite}",
        "Codename": suite,
        "Date": MADE,
        "Acquire-By-Hash": "yes",
        "Architectures": "all amd64",
        "Components": "main",
    }
    fields |= {name.replace("_", "-"): value for name, value in says.items()}
    lines = [f"{name}: {value}" for name, value in fields.items() if value]
    lines.append("SHA256:")
    lines += [f" {digest_of(data)} {len(data):>8} {path}" for path, data in indexes.items()]
    return ("\n".join(lines) + "\n").encode()


def giving(files: Mapping[str, bytes]) -> Answer:
    """Answers as a plain file server does, with ranges."""

    async def answer(asked: Asked, wire: Wire) -> None:
        data = files.get(asked.target)
        if data is None:
            await wire.reply(404, b"not here")
        elif wanted := asked.headers.get("range"):
            start = int(wanted.removeprefix("bytes=").partition("-")[0])
            said = f"bytes {start}-{len(data) - 1}/{len(data)}"
            await wire.reply(206, data[start:], Content_Range=said)
        else:
            await wire.reply(200, data)

    return answer


def _named(stem: str, packing: str) -> str:
    return f"{stem}.{packing}" if packing else stem


def _entry(deb: Deb, packed: bytes) -> str:
    return (
        f"{deb.control}Filename: {deb.filename}\nSize: {len(packed)}\n"
        f"MD5sum: {hashlib.md5(packed).hexdigest()}\nSHA256: {digest_of(packed)}\n"
    )
