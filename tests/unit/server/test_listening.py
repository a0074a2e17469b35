"""Where a server listens beyond its socket: certificates, who comes in there, and what is remembered."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from squall.agent.enroll import is_due, new_key, signing_request
from squall.context.fresh import fresh_id
from squall.model.access import SERVER_NAME, TokenKind
from squall.model.errors import InvalidError, ListenRefused, PeerNotTrusted
from squall.model.ids import NODE, NodeId
from squall.server.access import Access
from squall.server.authority import key_of, node_of, open_authority
from squall.server.listening import Listening
from squall.server.permits import Caller, CallerKind
from squall.settings.listen import ListenAddress, read_listen
from squall.settings.paths import StatePaths, open_state
from squall.state.memory_state import MemoryState
from squall.wire.channel import Channel
from squall.wire.dialing import dial_tls, dial_websocket
from squall.wire.tls import client_context, der_of, fingerprint
from squall.wire.tls_endpoint import serve_tls

pytestmark = pytest.mark.needs("linux")
DAY_S = 86_400.0
NOW_S = 1_800_000_000.0


class Stage:
    """A listening server without anything behind it: who came in."""

    def __init__(self, paths: StatePaths) -> None:
        self.paths = paths
        self.access = Access(MemoryState())
        self.came: asyncio.Queue[tuple[Channel, Caller]] = asyncio.Queue()
        self.listening = Listening(paths, self.access, lambda *who: self.came.put_nowait(who))

    async def machine(self) -> tuple[NodeId, Path, Path]:
        """A machine that joined: its id, its certificate and its key."""
        token, _ = await self.access.new_token(TokenKind.JOIN, (), name="", lasts_s=60.0, authority="")
        key = new_key()
        request = signing_request(key, "gpu")
        node = await self.access.enroll(str(token), key=key_of(request), node=fresh_id(NODE), name="")
        signed = self.listening.authority.sign_node(request, node.id, now_s=_now())
        certificate, own = self.paths.state / "node.crt", self.paths.state / "node.key"
        certificate.write_bytes(signed.certificate)
        own.write_bytes(key)
        return node.id, certificate, own


def _now() -> float:
    import time

    return time.time()


def on_stage(tmp_path: Path, play: Callable[[Stage], Awaitable[None]]) -> None:
    async def run() -> None:
        stage = Stage(open_state(tmp_path / "state"))
        try:
            await play(stage)
        finally:
            stage.listening.close()

    asyncio.run(run())


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def at(port: int) -> ListenAddress:
    return ListenAddress(host="127.0.0.1", port=port)


def test_a_machine_is_known_by_its_certificate_and_anybody_else_is_nobody_yet(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        port = free_port()
        await stage.listening.open(at(port))
        node, certificate, key = await stage.machine()
        pem = stage.listening.authority.certificate.decode()
        mine = await dial_tls(
            "127.0.0.1",
            port,
            client_context(ca_pem=pem, cert_file=certificate, key_file=key),
            server_name=SERVER_NAME,
        )
        _, caller = await stage.came.get()
        assert (caller.kind, caller.node) == (CallerKind.NODE, node)
        other = await dial_tls("127.0.0.1", port, client_context(ca_pem=pem))
        _, caller = await stage.came.get()
        assert (caller.kind, caller.node) == (CallerKind.NOBODY, None)
        await stage.access.remove_node(node)
        third = await dial_tls(
            "127.0.0.1", port, client_context(ca_pem=pem, cert_file=certificate, key_file=key)
        )
        _, caller = await stage.came.get()
        assert caller.kind is CallerKind.NOBODY, "it was removed"
        for channel in (mine, other, third):
            channel.close()

    on_stage(tmp_path, play)


def test_the_certificate_of_another_authority_is_not_trusted_by_either_side(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        port = free_port()
        await stage.listening.open(at(port))
        os.mkdir(tmp_path / "other")
        other = open_authority(tmp_path / "other", (), now_s=_now())
        with pytest.raises(PeerNotTrusted):
            await dial_tls("127.0.0.1", port, client_context(ca_pem=other.certificate.decode()))
        node = NodeId(fresh_id(NODE))
        key = new_key()
        forged = other.sign_node(signing_request(key, "x"), node, now_s=_now())
        (tmp_path / "n.crt").write_bytes(forged.certificate)
        (tmp_path / "n.key").write_bytes(key)
        context = client_context(
            ca_pem=stage.listening.authority.certificate.decode(),
            cert_file=tmp_path / "n.crt",
            key_file=tmp_path / "n.key",
        )
        channel = await dial_tls("127.0.0.1", port, context)
        ended: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        channel.start(lambda _frame: None, ended.set_result)
        assert await ended is not None
        assert stage.came.empty()

    on_stage(tmp_path, play)


def test_where_to_listen_is_remembered_and_taken_up_again(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        port = free_port()
        await stage.listening.open(at(port))
        authority = stage.listening.authority.fingerprint
        stage.listening.close()
        assert read_listen(stage.paths.listen) == at(port)
        later = Stage(stage.paths)
        await later.listening.reopen()
        assert (later.listening.address, later.listening.authority.fingerprint) == (at(port), authority)
        await later.listening.open(None)
        assert read_listen(stage.paths.listen) is None
        with pytest.raises(OSError, match="failed"):
            await dial_tls(
                "127.0.0.1", port, client_context(ca_pem=later.listening.authority.certificate.decode())
            )

    on_stage(tmp_path, play)


def test_without_tls_nobody_is_listened_to_beyond_this_machine(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        with pytest.raises(ListenRefused, match="TLS"):
            await stage.listening.open(ListenAddress(host="0.0.0.0", port=free_port(), plain=True))
        with pytest.raises(ListenRefused, match="TLS"):
            await serve_tls("0.0.0.0", 0, None, lambda _channel, _peer: None)
        assert stage.listening.address is None
        port = free_port()
        await stage.listening.open(ListenAddress(host="127.0.0.1", port=port, plain=True))
        channel = await dial_websocket(f"ws://127.0.0.1:{port}/squall/v1", None)
        _, caller = await stage.came.get()
        assert caller.kind is CallerKind.NOBODY, "a token is wanted there too"
        channel.close()

    on_stage(tmp_path, play)


def test_a_port_that_is_taken_is_named_and_changes_nothing(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        port = free_port()
        await stage.listening.open(at(port))
        with socket.create_server(("127.0.0.1", 0)) as taken:
            other = int(taken.getsockname()[1])
            with pytest.raises(ListenRefused, match=str(other)):
                await stage.listening.open(at(other))
        assert stage.listening.address == at(port)
        assert read_listen(stage.paths.listen) == at(port)
        pem = stage.listening.authority.certificate.decode()
        (await dial_tls("127.0.0.1", port, client_context(ca_pem=pem))).close()

    on_stage(tmp_path, play)


def test_keys_are_for_their_owner_alone_and_certificates_live_as_long_as_they_say(tmp_path: Path) -> None:
    first = open_authority(tmp_path, ("gpu-head", "10.0.0.1"), now_s=NOW_S)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert all(path.stat().st_mode & 0o077 == 0 for path in tmp_path.iterdir())
    assert open_authority(tmp_path, ("10.0.0.1",), now_s=NOW_S + 300 * DAY_S).fingerprint == first.fingerprint
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    later = open_authority(tmp_path, ("10.0.0.2",), now_s=NOW_S)
    assert later.server_certificate_file.read_bytes() != before["server.crt"], "another name is asked for"
    renewed = later.server_certificate_file.read_bytes()
    open_authority(tmp_path, ("10.0.0.2",), now_s=NOW_S + 370 * DAY_S)
    assert later.server_certificate_file.read_bytes() != renewed, "it would end within a month"
    assert first.fingerprint == fingerprint(der_of(first.certificate.decode()))


def test_a_damaged_certificate_of_the_server_is_made_anew(tmp_path: Path) -> None:
    authority = open_authority(tmp_path, (), now_s=NOW_S)
    for damaged in (b"", b"nonsense"):
        authority.server_certificate_file.write_bytes(damaged)
        open_authority(tmp_path, (), now_s=NOW_S)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(authority.server_certificate_file, authority.server_key_file)


def test_a_machines_certificate_says_which_it_is_and_is_renewed_in_time(tmp_path: Path) -> None:
    authority = open_authority(tmp_path, (), now_s=NOW_S)
    node, key = NodeId(fresh_id(NODE)), new_key()
    request = signing_request(key, "gpu é")
    signed = authority.sign_node(request, node, now_s=NOW_S)
    assert node_of(der_of(signed.certificate.decode())) == node
    assert node_of(der_of(authority.certificate.decode())) is None
    assert node_of(b"nonsense") is None
    assert not is_due(signed.certificate, NOW_S + 14 * DAY_S)
    assert is_due(signed.certificate, NOW_S + 16 * DAY_S)
    assert key_of(request) == key_of(signing_request(key, "other name"))
    assert key_of(request) != key_of(signing_request(new_key(), "gpu é"))


@pytest.mark.parametrize("request_", [b"", b"nonsense", b"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n"])
def test_what_is_no_request_is_refused(tmp_path: Path, request_: bytes) -> None:
    authority = open_authority(tmp_path, (), now_s=NOW_S)
    with pytest.raises(InvalidError):
        authority.sign_node(request_, NodeId(fresh_id(NODE)), now_s=NOW_S)
    with pytest.raises(InvalidError):
        key_of(request_)


def test_a_file_that_says_no_address_is_named_and_the_server_goes_on(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        stage.paths.listen.write_text(json.dumps({"host": 1}))
        await stage.listening.reopen()
        assert "listen.json" in stage.listening.trouble
        assert stage.listening.address is None
        assert stage.paths.listen.exists()

    on_stage(tmp_path, play)
