"""Where a registry leads to: redirects, private addresses, proxies, TLS."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ssl
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from squall.images.registry.complaint import Unsound
from squall.images.registry.connection import Dialer
from squall.images.registry.credentials import Login
from squall.images.registry.location import Reach, parse_location
from squall.images.registry.settings import RegistrySettings
from squall.model.errors import InvalidError, RegistryAnswerWrong, RegistryUnreachable
from tests.unit.images.registry.hostile import (
    QUICK,
    Asked,
    Wire,
    blob_of,
    client,
    image,
    read_request,
    reply,
    serving,
)

DATA = bytes(range(256)) * 3_000
BLOB = blob_of(DATA)
ADA = Login("ada", "hunter22canary")


async def get(
    address: str, settings: RegistrySettings | None = None, environ: dict[str, str] | None = None
) -> bytes:
    mine = client(login=ADA, at=address, settings=settings, environ=environ)
    return b"".join([part async for part in mine.blob(image(address), BLOB)])


async def gives(asked: Asked, wire: Wire) -> None:
    await wire.reply(200, DATA)


def test_a_blob_elsewhere_is_fetched_there_without_the_login() -> None:
    async def main() -> None:
        async with serving(gives) as store:

            async def leads(asked: Asked, wire: Wire) -> None:
                if "authorization" not in asked.headers:
                    await wire.reply(401, www_authenticate='Basic realm="x"')
                else:
                    await wire.reply(307, Location=f"http://{store.address}/store?signature=s")

            async with serving(leads) as registry:
                assert await get(registry.address) == DATA
                assert "authorization" in registry.asked[1].headers
            assert store.targets() == ["GET /store?signature=s"]
            assert "authorization" not in store.asked[0].headers

    asyncio.run(main())


def test_a_place_elsewhere_that_asks_for_a_login_gets_none() -> None:
    async def main() -> None:
        async def asks(asked: Asked, wire: Wire) -> None:
            await wire.reply(401, www_authenticate='Basic realm="x"')

        async with serving(asks) as store:

            async def leads(asked: Asked, wire: Wire) -> None:
                await wire.reply(302, Location=f"http://{store.address}/")

            async with serving(leads) as registry:
                with pytest.raises(Exception, match="does not allow"):
                    await get(registry.address)
                assert not any("authorization" in asked.headers for asked in [*store.asked, *registry.asked])

    asyncio.run(main())


@pytest.mark.parametrize(
    "location",
    [
        "/v2/team/app/again",
        "",
        "http://203.0.113.9/plain",
        "http://10.0.0.1/plain",
        "ftp://127.0.0.1/",
        "file:///etc/passwd",
        "http://user:word@127.0.0.1/",
        "http://127.0.0.1:99999/",
        "https://[",
        "//",
    ],
)
def test_a_circle_and_a_place_that_is_none_are_refused(location: str) -> None:
    async def main() -> None:
        async def leads(asked: Asked, wire: Wire) -> None:
            await wire.reply(307, Location=location)

        async with serving(leads) as registry:
            with pytest.raises(RegistryAnswerWrong):
                await get(registry.address)
            assert len(registry.asked) <= 6

    asyncio.run(main())


@pytest.mark.parametrize("reach", [Reach.PUBLIC, Reach.PRIVATE])
def test_a_place_inside_is_not_even_connected_to(reach: Reach) -> None:
    async def main() -> None:
        async with serving(gives) as inside:
            dialer = Dialer(QUICK, {})
            for host in ("127.0.0.1", "localhost", "[::ffff:127.0.0.1]"):
                with pytest.raises(Unsound, match="inside a network"):
                    await dialer.dial(parse_location(f"https://{host}:{inside.port}/"), reach)
            assert inside.open_now == 0

    asyncio.run(main())


@dataclass
class Door:
    """A proxy that leads every name to `target`: so a registry has a public name in a test that leaves loopback to nobody."""

    target: int = 0
    asked: list[Asked] = field(default_factory=list)
    address: str = ""

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            asked = await read_request(reader)
            if asked is None:
                return
            self.asked.append(asked)
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
            if asked.method == "CONNECT":
                writer.write(b"HTTP/1.1 200 Go\r\n\r\n")
            else:
                path = "/" + asked.target.split("/", 3)[3]
                far_writer.write(f"{asked.method} {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            await asyncio.gather(_pipe(reader, far_writer), _pipe(far_reader, writer))
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            writer.close()


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while part := await reader.read(65_536):
            writer.write(part)
            await writer.drain()
    writer.close()


@contextlib.asynccontextmanager
async def door_to(port: int) -> AsyncIterator[Door]:
    door = Door(port)
    listening = await asyncio.start_server(door.answer, "127.0.0.1", 0)
    door.address = f"127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    try:
        yield door
    finally:
        listening.close()


PUBLIC = "registry.example"


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "[::1]", "169.254.169.254", "10.1.2.3", "[fd00::1]"]
)
def test_a_public_registry_does_not_lead_inside(host: str) -> None:
    async def main() -> None:
        async with serving(gives) as inside:

            async def leads(asked: Asked, wire: Wire) -> None:
                await wire.reply(307, Location=f"https://{host}:{inside.port}/latest/meta-data")

            async with serving(leads) as registry, door_to(registry.port) as door:
                settings = RegistrySettings(patience=QUICK, insecure=frozenset({PUBLIC}))
                with pytest.raises(RegistryAnswerWrong, match="inside a network"):
                    await get(PUBLIC, settings, {"HTTP_PROXY": door.address, "HTTPS_PROXY": door.address})
                assert len(door.asked) == 1
            assert inside.asked == []

    asyncio.run(main())


def test_a_setting_lets_a_public_registry_lead_inside() -> None:
    async def main() -> None:
        async with serving(gives) as inside:

            async def leads(asked: Asked, wire: Wire) -> None:
                await wire.reply(307, Location=f"http://{inside.address}/x")

            async with serving(leads) as registry, door_to(registry.port) as door:
                settings = RegistrySettings(
                    patience=QUICK, insecure=frozenset({PUBLIC}), private_redirects=True
                )
                assert await get(PUBLIC, settings, {"http_proxy": f"http://{door.address}"}) == DATA

    asyncio.run(main())


def test_a_plain_proxy_is_asked_for_whole_addresses() -> None:
    async def main() -> None:
        async with serving(gives) as registry, door_to(registry.port) as door:
            settings = RegistrySettings(patience=QUICK, insecure=frozenset({PUBLIC}))
            assert await get(PUBLIC, settings, {"HTTP_PROXY": f"http://me:word@{door.address}"}) == DATA
            asked = door.asked[0]
            assert asked.target == f"http://{PUBLIC}/v2/team/app/blobs/sha256:{BLOB.digest}"
            assert asked.headers["proxy-authorization"] == "Basic " + base64.b64encode(b"me:word").decode()

    asyncio.run(main())


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate (and its key) for loopback and `registry.example`, in one file."""
    made = tmp_path_factory.mktemp("authority")
    subject = ["-subj", "/CN=test", "-addext", f"subjectAltName=DNS:{PUBLIC},DNS:localhost,IP:127.0.0.1"]
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    command = ["openssl", "req", "-x509", *kind, *subject, "-keyout", "key.pem", "-out", "cert.pem"]
    subprocess.run(command, cwd=made, check=True, capture_output=True)
    whole = made / "both.pem"
    whole.write_text((made / "key.pem").read_text() + (made / "cert.pem").read_text())
    return whole


def tls_of(authority: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority)
    return context


def on_tls(address: str) -> RegistrySettings:
    return RegistrySettings(patience=QUICK, encrypted=frozenset({address}))


@pytest.mark.needs("openssl")
def test_a_certificate_is_trusted_only_where_the_machine_says_so(authority: Path, tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(gives, tls_of(authority)) as registry:
            trusting = {"SSL_CERT_FILE": str(authority.with_name("cert.pem"))}
            assert await get(registry.address, on_tls(registry.address), trusting) == DATA
            with pytest.raises(RegistryUnreachable, match=r"certificate .* is not trusted"):
                await get(registry.address, on_tls(registry.address))
            empty = tmp_path / "empty.pem"
            empty.touch()
            for file in (empty, tmp_path / "missing.pem"):
                with pytest.raises(InvalidError, match="SSL_CERT_FILE"):
                    await get(registry.address, on_tls(registry.address), {"SSL_CERT_FILE": str(file)})
            assert len(registry.asked) == 1

    asyncio.run(main())


@pytest.mark.needs("openssl")
def test_a_certificate_for_another_name_is_refused(authority: Path) -> None:
    async def main() -> None:
        async with serving(gives, tls_of(authority)) as registry, door_to(registry.port) as door:
            environ = {"SSL_CERT_FILE": str(authority.with_name("cert.pem")), "HTTPS_PROXY": door.address}
            with pytest.raises(RegistryUnreachable, match="not trusted"):
                await get("other.example", RegistrySettings(patience=QUICK), environ)
            assert registry.asked == []

    asyncio.run(main())


@pytest.mark.needs("openssl")
def test_a_tunnel_through_a_proxy_tells_the_registry_nothing_of_the_proxy(authority: Path) -> None:
    async def main() -> None:
        async with serving(gives, tls_of(authority)) as registry, door_to(registry.port) as door:
            environ = {
                "SSL_CERT_FILE": str(authority.with_name("cert.pem")),
                "HTTPS_PROXY": f"http://me:word@{door.address}",
            }
            assert await get(PUBLIC, RegistrySettings(patience=QUICK), environ) == DATA
            assert [asked.method for asked in door.asked] == ["CONNECT"]
            assert door.asked[0].target == f"{PUBLIC}:443"
            assert "proxy-authorization" in door.asked[0].headers
            assert "proxy-authorization" not in registry.asked[0].headers
            assert registry.asked[0].headers["host"] == PUBLIC

    asyncio.run(main())


@pytest.mark.needs("openssl")
def test_a_registry_on_tls_does_not_lead_to_plain_http(authority: Path) -> None:
    async def main() -> None:
        async def leads(asked: Asked, wire: Wire) -> None:
            await wire.reply(307, Location=f"http://{PUBLIC}/x")

        async with serving(leads, tls_of(authority)) as registry, door_to(registry.port) as door:
            environ = {
                "SSL_CERT_FILE": str(authority.with_name("cert.pem")),
                "HTTPS_PROXY": door.address,
                "HTTP_PROXY": door.address,
            }
            with pytest.raises(RegistryAnswerWrong, match="plain http"):
                await get(PUBLIC, RegistrySettings(patience=QUICK), environ)
            assert len(door.asked) == 1

    asyncio.run(main())


def test_a_registry_elsewhere_is_never_spoken_to_in_plain_http_by_itself() -> None:
    async def main() -> None:
        came: list[bytes] = []

        async def only_plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            came.append(await reader.read(65_536))
            writer.write(reply(400))
            writer.close()

        listening = await asyncio.start_server(only_plain, "127.0.0.1", 0)
        async with listening, door_to(listening.sockets[0].getsockname()[1]) as door:
            with pytest.raises(RegistryUnreachable, match="TLS"):
                await get(PUBLIC, RegistrySettings(patience=QUICK), {"HTTPS_PROXY": door.address})
        assert len(came) == 1  # what is wrong with TLS is not asked twice
        assert came[0].startswith(b"\x16\x03")

    asyncio.run(main())


def test_a_proxy_that_refuses_is_told_of() -> None:
    async def main() -> None:
        async def refuses(asked: Asked, wire: Wire) -> None:
            await wire.send(reply(407))

        async with serving(refuses) as proxy:
            with pytest.raises(RegistryUnreachable, match="the proxy answers 407"):
                await get(PUBLIC, RegistrySettings(patience=QUICK), {"HTTPS_PROXY": proxy.address})

    asyncio.run(main())
