"""A real root: Debian's packages, fetched by apt, unpacked by us, configured and used in a sandbox of ours."""

from __future__ import annotations

import asyncio
import os
import platform
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from squall.blobs.directory_renderer import DirectoryRenderer
from squall.blobs.disk_blobs import DiskBlobs
from squall.images.debian.how import How
from squall.images.debian.nouns import RootCommand, Unpacked, WantedDebian, debian_architecture
from squall.images.debian.signature import find_verifier
from squall.images.debian.unpack import unpack_debian
from squall.runtime.spec import SandboxSpec
from tests.linux.images.debian_mirror import debian_mirror
from tests.linux.images.launcher_sandboxes import LauncherSandboxes, launcher_sandboxes

pytestmark = [pytest.mark.needs("linux", "root", "namespaces", "apt"), pytest.mark.timeout(400)]


@dataclass
class Made:
    """A root as directories, and what was told while it was made."""

    unpacked: Unpacked
    top: Path
    told: list[str]


def test_a_root_of_the_distribution_is_configured_and_installs_more(tmp_path: Path) -> None:
    wanted = WantedDebian(architecture=debian_architecture(platform.machine()), packages=("jq",))
    with debian_mirror(tmp_path / "apt", wanted) as address:
        plain = WantedDebian(
            architecture=wanted.architecture, mirrors=(f"{address}/debian", f"{address}/debian-security")
        )
        made = asyncio.run(_made(plain, tmp_path))
        # The signature was verified: nobody was warned.
        assert not [line for line in made.told if "warning" in line]
        assert "jq" not in {package.name for package in made.unpacked.packages}
        again = asyncio.run(_made(plain, tmp_path, into="again")).unpacked
        assert (again.manifest, again.commands) == (made.unpacked.manifest, made.unpacked.commands)
        assert again.fetched_bytes < made.unpacked.fetched_bytes / 20
        with launcher_sandboxes(_state(tmp_path)) as sandboxes:
            said = _run(sandboxes, made, tmp_path)
    for wrong in ("dpkg: error", "dpkg: warning", "E: "):
        assert wrong not in said, said
    audited, _, rest = said.partition("=audited\n")
    assert audited.endswith("=configured\n"), said
    checked, _, rest = rest.partition("=installed\n")
    assert "Setting up jq" in checked, said
    assert rest == "41\nroot:x:0:0:root:/root:/bin/bash\nNAME-OK\n", said


USED = """\
echo =configured
dpkg --audit
echo =audited
apt-get check -qq
apt-get update -qq
apt-get install -y -qq --no-install-recommends jq 2>&1
dpkg --audit
test ! -e /usr/share/doc/jq/changelog.Debian.gz
test -z "$(ls /var/cache/apt/archives/*.deb 2>/dev/null)"
test "$(stat -c %a:%G /var/mail)" = 2775:mail
openssl version >/dev/null
echo =installed
echo '{"a": 41}' | jq .a
getent passwd root
test -e /usr/share/zoneinfo/Europe/Berlin && ldconfig -p | grep -q libsqlite3 && echo NAME-OK
"""


async def _made(wanted: WantedDebian, room: Path, into: str = "root") -> Made:
    blobs = await DiskBlobs.open(room / "blobs")
    told: list[str] = []
    try:
        verifier = find_verifier()
        assert verifier is not None
        unpacked = await unpack_debian(wanted, blobs, told.append, How(verifier=verifier, environ={}))
        top = room / into
        await DirectoryRenderer(blobs).render(unpacked.manifest, top)
    finally:
        await blobs.close()
    return Made(unpacked, top, told)


def _run(sandboxes: LauncherSandboxes, made: Made, room: Path) -> str:
    """What all commands and the use of the root say, one after the other in one sandbox."""
    _hand_over(made.top, sandboxes.uid_base or 0)
    script = _script(made.unpacked.commands) + USED
    said = bytearray()
    spec = SandboxSpec(
        id="debian",
        scratch=str(room / "scratch" / "debian"),
        lowers=(str(made.top),),
        env={**made.unpacked.commands[-1].env},
        network="host",
        uid_base=sandboxes.uid_base,
        argv=("/bin/sh", "-ec", script),
        capabilities="build",
    )
    done = asyncio.run(sandboxes.run(spec, said.extend))
    text = said.decode("utf-8", "replace")
    assert done.code == 0, text[-3000:]
    return text


def _script(commands: Sequence[RootCommand]) -> str:
    lines = [
        shlex.join(["env", "-i", *(f"{key}={value}" for key, value in one.env.items()), *one.argv])
        for one in commands
    ]
    return "".join(f"{line}\n" for line in lines)


def _state(room: Path) -> Path:
    state = room / "state"
    (room / "scratch").mkdir()
    state.mkdir()
    return state


def _hand_over(top: Path, uid_base: int) -> None:
    """Gives all to the ids that the sandbox has; a change of owner takes privileged bits away, which come back."""
    for folder, folders, files in os.walk(top, topdown=False):
        for name in (*folders, *files, "."):
            path = os.path.join(folder, name)
            seen = os.lstat(path)
            if seen.st_uid < uid_base:
                os.lchown(path, seen.st_uid + uid_base, seen.st_gid + uid_base)
                if seen.st_mode & 0o7000 and not os.path.islink(path):
                    os.chmod(path, seen.st_mode & 0o7777)
