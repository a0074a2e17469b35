from __future__ import annotations

from squall.images.debian.configure import commands_for, settings_files
from squall.images.debian.deb import Control
from squall.images.debian.dpkg_record import AdminFile, Record, admin_files, conffile_paths
from squall.images.debian.left_out import DPKG_CONFIG
from squall.images.debian.stanza import parse_stanza


def record(name: str, **files: str) -> Record:
    text = f"Package: {name}\nVersion: 1\nArchitecture: amd64\nDescription: nothing"
    control = Control(
        fields=parse_stanza(text),
        text=text,
        files={key: said.encode() for key, said in files.items()},
        scripts=frozenset(files) & {"preinst", "postinst"},
    )
    return Record(control=control, paths=("/.",), conffiles={})


def by_path(files: list[AdminFile]) -> dict[str, AdminFile]:
    return {file.path: file for file in files}


def test_dpkg_is_told_of_its_machine_and_of_each_package_sorted_by_name() -> None:
    files = by_path(admin_files([record("two"), record("one")], "arm64"))
    assert files["var/lib/dpkg/arch"].data == b"arm64\n"
    assert files["var/lib/dpkg/info/format"].data == b"1\n"
    status = files["var/lib/dpkg/status"].data.decode()
    begin = "Package: one\nStatus: install ok unpacked\nVersion: 1\n"
    assert status.startswith(begin)
    assert status.index("Package: two") > len(begin)
    assert status.endswith("\n\n")


def test_triggers_are_those_that_a_package_is_interested_in() -> None:
    said = (
        "# interest /never\n"
        "interest /usr/lib/a  # and why\n"
        "interest-noawait /usr/lib/b\n"
        "interest-await by-name\n"
        "interest two words\n"
        "interest a/way/out\n"
        "activate /usr/lib/c\n"
    )
    files = by_path(admin_files([record("one", triggers=said)], "amd64"))
    assert files["var/lib/dpkg/triggers/File"].data == b"/usr/lib/a one\n/usr/lib/b one/noawait\n"
    named = {path for path in files if path.startswith("var/lib/dpkg/triggers/")}
    assert named == {f"var/lib/dpkg/triggers/{name}" for name in ("File", "Unincorp", "by-name")}
    assert files["var/lib/dpkg/triggers/by-name"].data == b"one\n"


def test_a_file_that_is_to_go_with_a_later_version_is_none_that_is_kept() -> None:
    control = record("one", conffiles="/etc/a\nremove-on-upgrade /etc/b\n\n/etc/c \n").control
    assert conffile_paths(control) == {"/etc/a", "/etc/c"}


def test_scripts_run_those_that_make_users_first_then_all_is_configured_and_cleaned() -> None:
    records = [
        record(name, **({"preinst": "#!/bin/sh"} if name != "z" else {}))
        for name in ("c", "base-passwd", "a", "z")
    ]
    commands = commands_for(records, 7)
    info = "/var/lib/dpkg/info"
    assert [command.argv[:2] for command in commands[:3]] == [
        (f"{info}/{name}.preinst", "install") for name in ("base-passwd", "a", "c")
    ]
    assert [command.argv[0] for command in commands[3:]] == ["/usr/bin/dpkg", "/sbin/ldconfig", "/bin/sh"]
    assert {command.env["SOURCE_DATE_EPOCH"] for command in commands} == {"7"}
    env = commands[1].env
    assert (env["DPKG_MAINTSCRIPT_PACKAGE"], env["DPKG_MAINTSCRIPT_ARCH"]) == ("a", "amd64")
    assert "DPKG_MAINTSCRIPT_PACKAGE" not in commands[3].env
    assert "/var/lib/apt/lists" in commands[-1].argv[-1]


def test_apt_and_dpkg_go_on_as_the_root_was_begun() -> None:
    sources = [("https://mirror.example.com/debian", "bookworm")]
    files = by_path(settings_files(sources, keyring=True))
    assert files["etc/apt/sources.list"].data == (
        b"deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] "
        b"https://mirror.example.com/debian bookworm main\n"
    )
    without = by_path(settings_files(sources, keyring=False))
    assert without["etc/apt/sources.list"].data == b"deb https://mirror.example.com/debian bookworm main\n"
    assert files["etc/dpkg/dpkg.cfg.d/squall"].data == DPKG_CONFIG.encode()
    assert files["usr/sbin/policy-rc.d"].executable
    assert b"exit 101" in files["usr/sbin/policy-rc.d"].data
