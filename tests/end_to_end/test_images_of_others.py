"""Images of other programs: what buildah makes and sends to a registry, a function runs in."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from squall.blobs.digest import Digest
from squall.blobs.disk_blobs import DiskBlobs
from squall.images.oci.nouns import ImageConfig, Platform
from squall.images.registry.client import RegistryClient
from squall.images.registry.credentials import Keychain
from squall.images.registry.reference import parse_reference
from squall.images.remote import push_image
from squall.images.rooted.kept import Kept
from tests.end_to_end.conftest import House
from tests.end_to_end.image_program import Program
from tests.linux.images.buildah import Buildah
from tests.linux.images.registry_server import registry_server

pytestmark = [
    pytest.mark.needs("root", "namespaces", "network", "registry", "buildah"),
    pytest.mark.timeout(300),
]

CHANGES = """
set -e
useradd --create-home --uid 1500 web
install -o web -m 0640 /dev/null /srv/of-web
ln -s of-web /srv/link
echo changed > /etc/motd
rm -r /var/lib/dpkg
python3 -c 'import sys; print(sys.prefix)' > /srv/prefix
"""


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with registry_server(tmp_path_factory.mktemp("others") / "registry") as address:
        yield address


@pytest.fixture
def program(house: House) -> Program:
    return Program(house)


async def send_last_used(house: House, name: str) -> None:
    """Has a registry keep the image that was used last."""
    state = Path(house.environ["SQUALL_STATE_DIR"])
    last, _ = max(Kept(state / "images").all(), key=lambda kept: kept[1])
    blobs = await DiskBlobs.open(state / "blobs")
    config = ImageConfig(
        platform=Platform(os="linux", architecture="amd64"), diff_ids=(), env=tuple(last.config.env.items())
    )
    layers = [Digest(tree) for tree in last.trees]
    await push_image(RegistryClient(None, Keychain({}), {}), parse_reference(name), blobs, layers, config)
    await blobs.close()


def test_a_function_runs_in_an_image_that_buildah_made_over_one_of_ours(
    program: Program, registry: str, tmp_path: Path
) -> None:
    program.tells("""
@app.function(image=squall.Image.debian_slim())
def look():
    return None
""")
    asyncio.run(send_last_used(program.house, f"{registry}/slim:1"))
    (tmp_path / "copied").write_text("copied\n")
    with Buildah(tmp_path / "storage", driver="overlay") as buildah:
        made = buildah.says("from", "--tls-verify=false", f"docker://{registry}/slim:1")
        buildah.says("run", "--isolation=chroot", made, "--", "sh", "-c", CHANGES)
        buildah.says("copy", "--chown=1500:7", made, tmp_path / "copied", "/srv/")
        buildah.says("config", "--env=MADE_BY=buildah", "--workingdir=/srv", made)
        buildah.says("commit", made, "made")
        buildah.says("push", "--tls-verify=false", "made", f"docker://{registry}/made:1")
    told = program.tells(f"""
@app.function(image=squall.Image.from_registry("{registry}/made:1"))
def look():
    import os, sys
    seen = sh("stat -c '%n %U %g %a' of-web copied; cat link copied prefix /etc/motd")
    return [seen, os.environ["MADE_BY"], os.getcwd(), os.path.exists("/var/lib/dpkg"), sys.prefix]
""")
    seen = "of-web web 0 640\ncopied web 7 644\ncopied\n/usr/local\nchanged"
    assert told == [seen, "buildah", "/srv", False, "/usr/local"]
