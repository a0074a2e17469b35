from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import tarfile

import pytest

from squall.blobs.digest import digest_of
from squall.blobs.manifest import Directory, File, Hardlink, Symlink
from squall.blobs.memory_blobs import MemoryBlobs
from squall.images.debian.how import How
from squall.images.debian.nouns import WantedDebian, debian_architecture
from squall.images.debian.unpack import unpack_debian
from squall.model.errors import (
    DebianPackageInvalid,
    DebianReleaseNotFound,
    FeatureUnavailable,
    MirrorAnswerWrong,
    MirrorNotTrusted,
    MirrorUnreachable,
    PackageNotFound,
)
from tests.unit.images.debian.building import TOOL, build, with_bytes
from tests.unit.images.debian.distribution import (
    MADE_S,
    Deb,
    Path,
    ar,
    base,
    giving,
    link,
    mirror,
    tar,
)
from tests.unit.images.registry.hostile import IMPATIENT, Asked, Wire


def test_a_root_has_the_files_of_its_packages_below_a_merged_usr() -> None:
    built = build(mirror([*base(), TOOL]), "tool")
    assert built.unpacked is not None, built.failed
    tool = built.tree["usr/bin/tool"]
    again = built.tree["usr/bin/again"]
    first, second = (again, tool) if isinstance(tool, Hardlink) else (tool, again)
    assert isinstance(first, File)
    assert (first.attributes.mode, first.attributes.gid, first.size) == (0o4755, 5, 6)
    assert second == Hardlink(path="usr/bin/tool", first="usr/bin/again")
    for name in ("bin", "sbin", "lib"):
        at = built.tree[name]
        assert isinstance(at, Symlink)
        assert at.target == f"usr/{name}"
    led = built.tree["usr/lib/tool"]
    assert isinstance(led, Symlink)
    assert led.target == "/nowhere/at/all"
    assert not any(path.startswith(("bin/", "lib/", "sbin/")) for path in built.tree)
    assert isinstance(built.tree[""], Directory)


def test_documents_and_translations_are_left_out_and_copyrights_are_not() -> None:
    tree = build(mirror([*base(), TOOL]), "tool").tree
    assert "usr/share/doc/tool/copyright" in tree
    assert not {
        "usr/share/doc/tool/README",
        "usr/share/man/man1/tool.1.gz",
        "usr/share/locale/de/LC_MESSAGES/tool.mo",
    } & set(tree)


def test_dpkg_finds_every_package_unpacked() -> None:
    built = build(mirror([*base(), TOOL]), "tool")
    stanzas = built.text("var/lib/dpkg/status").strip().split("\n\n")
    assert [stanza.split("\n")[0] for stanza in stanzas] == [
        f"Package: {name}" for name in ("apt", "base-files", "ca-certificates", "mawk", "tool")
    ]
    assert all("\nStatus: install ok unpacked\n" in stanza for stanza in stanzas)
    md5 = hashlib.md5(b"colour = blue\n").hexdigest()
    assert stanzas[-1].endswith(f"Conffiles:\n /etc/tool.conf {md5}")
    listed = built.text("var/lib/dpkg/info/tool:amd64.list").split("\n")
    assert listed[:3] == ["/.", "/bin", "/bin/tool"]
    assert "/usr/share/doc/tool/README" in listed
    assert built.text("var/lib/dpkg/info/apt.list") == "/.\n"
    assert built.text("var/lib/dpkg/triggers/File") == "/usr/share/tool tool/noawait\n"
    assert built.text("var/lib/dpkg/triggers/tools") == "tool\n"
    script = built.tree["var/lib/dpkg/info/tool:amd64.postinst"]
    assert isinstance(script, File)
    assert script.attributes.mode == 0o755


def test_what_must_still_run_is_told_in_its_order() -> None:
    built = build(mirror([*base(), TOOL]), "tool")
    assert built.unpacked is not None
    argvs = [command.argv for command in built.unpacked.commands]
    assert argvs[0] == ("/var/lib/dpkg/info/tool:amd64.preinst", "install")
    assert argvs[1] == ("/usr/bin/dpkg", "--force-confold", "--configure", "-a")
    assert built.unpacked.commands[1].env["DEBIAN_FRONTEND"] == "noninteractive"
    assert built.unpacked.epoch_s == MADE_S
    assert "debian bookworm main" in built.text("etc/apt/sources.list")


def test_the_same_packages_give_the_same_root_and_are_fetched_once() -> None:
    blobs = MemoryBlobs()
    files = mirror([*base(), TOOL])
    once, again = build(files, "tool", blobs=blobs), build(files, "tool", blobs=blobs)
    # The servers had different ports, which stand in a file of apt's.
    differ = {path for path in once.texts if once.texts[path] != again.texts[path]}
    assert differ == {"etc/apt/sources.list"}
    assert set(once.tree) == set(again.tree)
    assert any(target.endswith(".deb") for target in once.asked)
    assert all(target.endswith("/InRelease") for target in again.asked)


def test_what_is_broken_off_goes_on_with_what_is_there() -> None:
    blobs = MemoryBlobs()
    files = mirror([*base(), TOOL])
    serve, last = giving(files), f"/debian/{TOOL.filename}"
    others = [digest_of(data) for path, data in files.items() if path.endswith(".deb") and path != last]

    async def answer(asked: Asked, wire: Wire) -> None:
        if asked.target == last:
            while len(await blobs.has_many(others)) < len(others):
                await asyncio.sleep(0.005)
            await wire.reply(404)
        else:
            await serve(asked, wire)

    broken = build(answer, "tool", blobs=blobs)
    assert isinstance(broken.failed, MirrorAnswerWrong)
    assert "announced, and not there" in str(broken.failed)
    went_on = build(files, "tool", blobs=blobs)
    assert went_on.unpacked is not None
    assert [target for target in went_on.asked if not target.endswith("InRelease")] == [last]


def test_a_connection_that_breaks_is_taken_up_where_it_broke() -> None:
    files = mirror([*base(), TOOL])
    serve, broken = giving(files), f"/debian/{TOOL.filename}"
    tried: list[str] = []

    async def answer(asked: Asked, wire: Wire) -> None:
        if asked.target == broken:
            tried.append(asked.headers.get("range", "from its start"))
        if len(tried) == 1 and asked.target == broken:
            data = files[broken]
            await wire.send(f"HTTP/1.1 200 OK\r\nContent-Length: {len(data)}\r\n\r\n".encode(), data[:100])
        else:
            await serve(asked, wire)

    built = build(answer, "tool")
    assert built.unpacked is not None, built.failed
    assert tried == ["from its start", f"bytes=100-{len(files[broken]) - 1}"]


@pytest.mark.parametrize("which", ["package", "index"])
def test_a_mirror_that_lies_about_a_digest_is_told_and_nothing_of_it_is_kept(which: str) -> None:
    files = mirror(base())
    blobs = MemoryBlobs()
    path = next(path for path in files if (".deb" if which == "package" else "by-hash") in path)
    true = files[path]
    lie = bytes([*true[:-1], true[-1] ^ 1])
    built = build({one: lie if data == true else data for one, data in files.items()}, blobs=blobs)
    assert isinstance(built.failed, MirrorAnswerWrong)
    assert built.failed.mirror is not None
    assert not asyncio.run(blobs.has_many([digest_of(lie), digest_of(true)]))


def test_a_mirror_that_is_down_is_named() -> None:
    async def closing(asked: Asked, wire: Wire) -> None:
        del asked, wire

    built = build(closing)
    assert isinstance(built.failed, MirrorUnreachable)
    assert "127.0.0.1" in str(built.failed)
    assert "InRelease" in str(built.failed)


def test_a_mirror_that_falls_silent_is_given_up() -> None:
    files = mirror(base())
    serve = giving(files)

    async def silent(asked: Asked, wire: Wire) -> None:
        if asked.target.endswith(".deb"):
            await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(files[asked.target]))
            await asyncio.sleep(60)
        else:
            await serve(asked, wire)

    built = build(silent, patience=IMPATIENT)
    assert isinstance(built.failed, MirrorUnreachable)
    assert "nothing came" in str(built.failed)


def test_a_package_that_does_not_exist_is_named_with_those_that_are_meant() -> None:
    built = build(mirror([*base(), Deb("ffmpeg")]), "ffmepg")
    assert isinstance(built.failed, PackageNotFound)
    assert built.failed.package == "ffmepg"
    assert "ffmpeg" in str(built.failed)


def test_a_release_that_no_mirror_has_is_named() -> None:
    built = build({})
    assert isinstance(built.failed, DebianReleaseNotFound)
    assert "bookworm" in str(built.failed)


def test_a_release_without_this_architecture_is_named_with_those_that_it_has() -> None:
    built = build(mirror(base(), Architectures="all riscv64"))
    assert isinstance(built.failed, DebianReleaseNotFound)
    assert "riscv64" in str(built.failed)


def test_the_newest_version_of_all_suites_is_taken() -> None:
    fixed = dataclasses.replace(TOOL, version="1.0-1+deb12u10")
    older = dataclasses.replace(TOOL, version="1.0-1+deb12u9")
    files = (
        mirror([*base(), TOOL]) | mirror([fixed], "bookworm-security") | mirror([older], "bookworm-updates")
    )
    built = build(files, "tool")
    assert built.unpacked is not None
    versions = {package.name: package.version for package in built.unpacked.packages}
    assert versions["tool"] == "1.0-1+deb12u10"
    assert "bookworm-security main" in built.text("etc/apt/sources.list")


def test_a_suite_that_no_mirror_carries_is_told() -> None:
    told = "\n".join(build(mirror(base())).told)
    assert "no mirror carries bookworm-updates" in told
    assert "no mirror carries bookworm-security" in told


def test_a_release_that_is_given_out_as_another_one_is_refused() -> None:
    files = mirror(base())
    other = mirror(base(), "bookworm-updates")["/debian/dists/bookworm-updates/InRelease"]
    built = build(files | {"/debian/dists/bookworm/InRelease": other})
    assert isinstance(built.failed, MirrorAnswerWrong)
    assert "bookworm-updates" in str(built.failed)


def test_a_release_that_is_out_of_date_is_refused() -> None:
    files = mirror(base(), Valid_Until="Wed, 02 Dec 2026 02:22:30 UTC")
    assert build(files).unpacked is not None
    built = build(files, now_s=MADE_S + 8 * 86_400)
    assert isinstance(built.failed, MirrorAnswerWrong)
    assert "out of date" in str(built.failed)


def test_plain_http_is_refused_where_nothing_verifies() -> None:
    wanted = WantedDebian(mirrors=("http://mirror.example.com/debian",))
    with pytest.raises(MirrorNotTrusted, match=r"mirror\.example\.com"):
        asyncio.run(unpack_debian(wanted, MemoryBlobs(), print, How(verifier=None, environ={})))


HOSTILE = {
    "an absolute name": Path("/etc/passwd", b"root"),
    "a way out": Path("./../etc/passwd", b"root"),
    "a device": Path("./etc/disk", kind=tarfile.BLKTYPE),
    "a hard link to what is not there": link("./etc/mine", "./etc/shadow", tarfile.LNKTYPE),
    "a link in place of a folder": link("./lib", "/tmp"),
    "a file in place of a folder": Path("./bin", b"x"),
    "a line break": Path("./etc/a\nb", b"x"),
}


@pytest.mark.parametrize("path", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_package_that_would_leave_the_root_is_refused_by_name(path: Path) -> None:
    built = build(mirror([*base(), Deb("evil", paths=(path,))]), "evil")
    assert isinstance(built.failed, DebianPackageInvalid)
    assert built.failed.package == "evil"
    assert "evil 1.0-1" in str(built.failed)


def test_a_way_through_a_link_is_refused() -> None:
    paths = (link("./etc/way", "/"), Path("./etc/way/passwd", b"root"))
    built = build(mirror([*base(), Deb("evil", paths=paths)]), "evil")
    assert isinstance(built.failed, DebianPackageInvalid)


def test_a_file_of_another_package_is_refused_unless_it_is_replaced() -> None:
    path = Path("./etc/debian_version", b"13.0\n")
    built = build(mirror([*base(), Deb("thief", paths=(path,))]), "thief")
    assert isinstance(built.failed, DebianPackageInvalid)
    assert "base-files" in str(built.failed)
    for name in ("heir", "a-heir"):  # after the package that it replaces, and before it
        heir = Deb(name, paths=(path,), more="Replaces: base-files (<< 2)")
        assert build(mirror([*base(), heir]), name).text("etc/debian_version") == "13.0\n"


def test_a_package_that_is_another_one_than_the_index_says_is_refused() -> None:
    other = dataclasses.replace(TOOL, name="other").packed()
    built = build(with_bytes(TOOL, other), "tool")
    assert isinstance(built.failed, DebianPackageInvalid)
    assert "other" in str(built.failed)


@pytest.mark.parametrize(
    "packed",
    [
        b"",
        b"no archive",
        TOOL.packed()[:-300],
        ar(("debian-binary", b"3.0\n")),
        ar(("debian-binary", b"2.0\n"), ("data.tar", tar([]))),
        ar(("debian-binary", b"2.0\n"), ("control.tar.bz2", b"x")),
        ar(("debian-binary", b"2.0\n"), ("control.tar.xz", b"not xz at all")),
        ar(("debian-binary", b"2.0\n"), ("control.tar", tar([])), ("data.tar", tar([]))),
    ],
    ids=["nothing", "no archive", "cut off", "format", "no control", "bzip2", "damaged", "no description"],
)
def test_a_damaged_package_is_refused_by_name(packed: bytes) -> None:
    built = build(with_bytes(TOOL, packed), "tool")
    assert isinstance(built.failed, DebianPackageInvalid), built.failed
    assert built.failed.package == "tool"


def test_no_machine_but_two_kinds_is_known() -> None:
    assert debian_architecture("x86_64") == "amd64"
    assert debian_architecture("aarch64") == "arm64"
    with pytest.raises(FeatureUnavailable, match="riscv64"):
        debian_architecture("riscv64")
