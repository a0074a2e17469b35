from __future__ import annotations

import posixpath

import pytest

from squall.images.host import Facts, HostImage, Seen, follow, host_image, is_below
from squall.images.skeleton import Skeleton
from tests.unit.images.machines import DEBIAN, LAYOUTS, SECRETS, Layout, machine

SYSTEM = {"/usr", "/etc/resolv.conf"}
ETC = {
    *("/etc/alternatives", "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/mime.types"),
    *("/etc/python3.12", "/etc/ssl/certs", "/etc/ssl/openssl.cnf"),
}

layouts = pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)


@layouts
def test_exactly_the_system_and_the_python_are_mounted_each_at_its_own_path(layout: Layout) -> None:
    image = host_image(layout.facts, layout.look)
    assert {mount.target for mount in image.mounts} == {*SYSTEM, *layout.shown}
    assert all(mount.source == mount.target for mount in image.mounts if mount.target != "/etc/resolv.conf")
    assert not any(mount.writable for mount in image.mounts)


@layouts
def test_exactly_the_public_part_of_etc_is_copied(layout: Layout) -> None:
    image = host_image(layout.facts, layout.look)
    assert {copy.target for copy in image.skeleton.copies} == ETC


@layouts
@pytest.mark.parametrize("secret", SECRETS)
def test_no_key_no_shadow_and_nothing_of_a_home_shows(layout: Layout, secret: str) -> None:
    image = host_image(layout.facts, layout.look)
    shown = [mount.source for mount in image.mounts] + [copy.source for copy in image.skeleton.copies]
    assert not [source for source in shown if is_below(secret, source)]


@layouts
def test_the_interpreter_is_reached_by_the_path_that_the_client_knows(layout: Layout) -> None:
    image = host_image(layout.facts, layout.look)
    inside = _inside(image, layout)
    for path in (layout.python.executable, *layout.python.stdlib_dirs, *layout.python.site_dirs):
        assert follow(path, inside).seen is not None, path


def test_the_links_of_a_merged_usr_are_made_again() -> None:
    links = dict(_image(DEBIAN).skeleton.links)
    assert {links[name] for name in ("/bin", "/sbin", "/lib", "/lib64")} == {
        "usr/bin",
        "usr/sbin",
        "usr/lib",
        "usr/lib64",
    }


def test_a_machine_without_a_merged_usr_shows_its_directories() -> None:
    image = _image(("/bin/sh", "/lib/ld.so", "/usr/bin/env", "/sbin/init"))
    assert {mount.target for mount in image.mounts} == {"/bin", "/lib", "/usr", "/sbin"}


def test_a_link_of_etc_into_the_system_stays_a_link_and_one_that_leads_elsewhere_shows_its_end() -> None:
    image = _image(DEBIAN)
    assert dict(image.skeleton.links)["/etc/localtime"] == "/usr/share/zoneinfo/Europe/Paris"
    resolver = next(mount for mount in image.mounts if mount.target == "/etc/resolv.conf")
    assert resolver.source == "/run/systemd/resolve/stub-resolv.conf"


def test_certificates_that_lead_to_another_public_place_are_followed_and_private_ones_are_not() -> None:
    image = _image(
        (
            *(
                "/usr/bin/env",
                "/etc/pki/tls/certs/ca-bundle.crt -> /etc/pki/ca-trust/extracted/pem/bundle.pem",
            ),
            *("/etc/pki/ca-trust/extracted/pem/bundle.pem", "/etc/pki/tls/private/localhost.key"),
            "/etc/ssl/certs -> ../pki/tls/certs",
        )
    )
    assert {copy.target for copy in image.skeleton.copies} == {
        "/etc/pki/tls/certs",
        "/etc/pki/ca-trust/extracted",
    }
    assert dict(image.skeleton.links)["/etc/ssl/certs"] == "../pki/tls/certs"


def test_an_allowed_name_that_links_to_a_home_shows_nothing() -> None:
    image = _image((*DEBIAN, "/etc/fonts -> /home/ada"))
    assert "/etc/fonts" not in {copy.target for copy in image.skeleton.copies}
    assert "/etc/fonts" not in dict(image.skeleton.links)


def test_inside_there_are_root_nobody_and_a_user() -> None:
    files = dict(_image(DEBIAN).skeleton.files)
    assert [line.split(":")[0] for line in files["/etc/passwd"].splitlines()] == ["root", "nobody", "user"]
    assert "root:x:0:0:root:/root:/bin/bash" in files["/etc/passwd"]
    assert "/etc/shadow" not in files


def test_the_packages_of_the_runner_show_at_a_place_of_their_own() -> None:
    layout = LAYOUTS[0]
    facts = Facts(python=layout.python, packages=(("squall", "/srv/squall/src/squall"),))
    image = host_image(facts, machine((*DEBIAN, *layout.paths, "/srv/squall/src/squall/__init__.py")))
    assert ("/srv/squall/src/squall", "/squall/python/squall") in {
        (mount.source, mount.target) for mount in image.mounts
    }


def test_site_packages_that_are_a_whole_home_are_refused_with_a_reason() -> None:
    layout = LAYOUTS[0]
    python = type(layout.python)(
        executable="/usr/bin/python3",
        prefix="/usr",
        base_prefix="/usr",
        version="3.12.4",
        site_dirs=("/home/ada",),
    )
    image = host_image(Facts(python=python, home="/home/ada"), machine((*DEBIAN, "/home/ada/x.py")))
    assert not any(mount.target.startswith("/home") for mount in image.mounts)
    assert "/home/ada is not shown" in image.warnings[0]


def test_a_circle_of_links_leads_nowhere() -> None:
    assert follow("/a/x", machine(("/a -> /b", "/b -> /a"))).seen is None


def test_a_link_out_of_a_home_does_not_make_the_home_show() -> None:
    # /home itself lies elsewhere: the link is kept, and only the prefix is mounted behind it.
    layout = LAYOUTS[4]
    look = machine(
        (
            *[path for path in DEBIAN if not path.startswith("/home")],
            "/home -> /mnt/disk/home",
            *(f"/mnt/disk{path}" for path in layout.paths),
            "/mnt/disk/home/ada/.ssh/id_ed25519",
        )
    )
    image = host_image(layout.facts, look)
    assert "/mnt/disk/home/ada/project/.venv" in {mount.target for mount in image.mounts}
    assert dict(image.skeleton.links)["/home"] == "/mnt/disk/home"
    assert not [path for path, _ in image.skeleton.dirs if path.startswith("/home")]


def _image(paths: tuple[str, ...]) -> HostImage:
    layout = LAYOUTS[0]
    return host_image(Facts(python=layout.python, home="/home/ada"), machine(paths))


def _inside(image: HostImage, layout: Layout) -> _Inside:
    return _Inside(image, image.skeleton, layout)


class _Inside:
    """What a path is in a container of this image."""

    def __init__(self, image: HostImage, skeleton: Skeleton, layout: Layout) -> None:
        self._mounts = {mount.target: mount.source for mount in image.mounts}
        self._links = dict(skeleton.links)
        self._dirs = dict(skeleton.dirs)
        self._outside = layout.look

    def __call__(self, path: str) -> Seen | None:
        for target, source in self._mounts.items():
            if is_below(path, target):
                return self._outside(
                    posixpath.join(source, posixpath.relpath(path, target)).rstrip("/.") or "/"
                )
        if path in self._links:
            return Seen(kind="link", target=self._links[path])
        return Seen(kind="dir") if path in self._dirs else None
