"""Tunnels: a port on which a function's code listens is reached from outside its container, for as long as a block runs."""

from __future__ import annotations

import asyncio
import http.server
import json
import os
import random
import signal
import socket
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

import squall
from squall.model.errors import InvalidError, TooManyTunnels, TunnelRefused, TunnelUnavailable
from tests.end_to_end.conftest import House, eventually

pytestmark = [pytest.mark.needs("linux"), pytest.mark.timeout(180)]

app = squall.App("tunnels")


@app.function(serialized=True, max_containers=4, cpu=0.1)
def serve(told: squall.Queue, done: squall.Queue) -> int:
    """A web server that answers with its count, until it is told to end."""
    seen = []

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.path)
            body = f"{self.path} is number {len(seen)}".encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_words: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 8000), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with squall.forward(8000) as tunnel:
            assert tunnel.tcp_socket == (tunnel.host, tunnel.port)
            told.put(tunnel.url)
            done.get(timeout=60)
        told.put("closed")
        done.get(timeout=60)
        server.shutdown()
    return len(seen)


@app.function(serialized=True, max_containers=4, cpu=0.1)
async def echo(told: squall.Queue, done: squall.Queue) -> int:
    """Sends back what comes once it is told to, and says how many bytes there were."""
    passed = 0
    begins = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal passed
        await begins.wait()
        while data := await reader.read(65536):
            passed += len(data)
            writer.write(data)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "::1", 9000)
    async with server, squall.forward(9000, unencrypted=True) as tunnel:
        await told.put.aio([tunnel.host, tunnel.port])
        await done.get.aio(timeout=60)
        begins.set()
        await done.get.aio(timeout=60)
    return passed


@app.function(serialized=True, max_containers=1, cpu=0.1)
def many(count: int) -> int:
    opened = [squall.forward(5000 + number) for number in range(count)]
    return len({tunnel.__enter__().port for tunnel in opened})


@app.function(serialized=True, max_containers=1, cpu=0.1, block_network=True)
def closed_off() -> None:
    with squall.forward(8000):
        pass


@app.function(serialized=True, max_containers=1, cpu=0.1)
def ends_inside(told: squall.Queue) -> None:
    with squall.forward(8000) as tunnel:
        told.put(tunnel.port)
        raise RuntimeError("the block ends by an exception")


@app.function(serialized=True, max_containers=1, cpu=0.1)
def nobody_listens(told: squall.Queue, done: squall.Queue) -> None:
    with squall.forward(8001) as tunnel:
        told.put(tunnel.port)
        done.get(timeout=60)


@pytest.fixture(scope="module")
def running(at_home: House) -> Iterator[House]:
    with app.run():
        yield at_home


@contextmanager
def queues() -> Iterator[tuple[squall.Queue, squall.Queue]]:
    with squall.Queue.ephemeral() as told, squall.Queue.ephemeral() as done:
        yield told, done


def test_a_web_server_in_a_container_answers_until_the_block_ends(running: House) -> None:
    with queues() as (told, done):
        call = serve.spawn(told, done)
        url = told.get(timeout=30)
        assert url.startswith("http://127.0.0.1:")
        for number in range(1, 4):
            with urllib.request.urlopen(f"{url}/page{number}", timeout=10) as answer:
                assert answer.read() == f"/page{number} is number {number}".encode()
        done.put(None)
        assert told.get(timeout=30) == "closed"
        port = int(url.rpartition(":")[2])
        eventually(lambda: not listens(port), within_s=5)
        done.put(None)
        assert call.get(timeout=30) == 3


def _most_in_a_connection() -> int:
    """Bytes that wait at most in the kernel, on both sides."""
    return sum(int(Path(f"/proc/sys/net/ipv4/tcp_{side}mem").read_text().split()[2]) for side in "rw")


def test_bytes_pass_unchanged_and_wait_where_they_are_not_taken(running: House) -> None:
    with queues() as (told, done):
        call = echo.spawn(told, done)
        address = tuple(told.get(timeout=30))
        # More than the kernel holds of two connections, and a little of the agent's.
        data = random.Random(0).randbytes(2 * _most_in_a_connection() + 8 * 2**20)
        with socket.create_connection(address, timeout=30) as sock:
            # Nobody reads yet: not all of it finds a place, in the agent least of all.
            sock.settimeout(0.5)
            early = 0
            with pytest.raises(TimeoutError):
                while early < len(data):
                    early += sock.send(data[early : early + 65536])
            done.put(None)
            sock.settimeout(60)
            back = bytearray()

            def send_the_rest() -> None:
                sock.sendall(data[early:])
                sock.shutdown(socket.SHUT_WR)

            sender = threading.Thread(target=send_the_rest)
            sender.start()
            while part := sock.recv(65536):
                back += part
            sender.join()
        assert back == data
        done.put(None)
        assert call.get(timeout=30) == len(data)


def test_a_block_that_ends_by_an_exception_closes_its_tunnel(running: House) -> None:
    with queues() as (told, _):
        with pytest.raises(RuntimeError, match="the block ends"):
            ends_inside.remote(told)
        port = told.get(timeout=10)
        eventually(lambda: not listens(port), within_s=5)


def test_a_port_where_nobody_listens_ends_the_connection(running: House) -> None:
    with queues() as (told, done):
        call = nobody_listens.spawn(told, done)
        with (
            socket.create_connection(("127.0.0.1", told.get(timeout=30)), timeout=10) as sock,
            suppress(OSError),
        ):
            assert sock.recv(1) == b""
        done.put(None)
        call.get(timeout=30)


def test_a_container_that_ends_takes_its_tunnels_with_it(running: House) -> None:
    with queues() as (told, done):
        call = serve.spawn(told, done)
        port = int(told.get(timeout=30).rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
            call.cancel(terminate_containers=True)
            sock.settimeout(30)
            with suppress(ConnectionResetError):
                assert sock.recv(1) == b""
        eventually(lambda: not listens(port), within_s=10)


def test_there_are_so_many_tunnels_and_no_more(running: House) -> None:
    with pytest.raises(TooManyTunnels):
        many.remote(17)


def test_a_function_without_a_network_has_no_tunnel(running: House) -> None:
    with pytest.raises(TunnelRefused, match="block_network"):
        closed_off.remote()


def test_outside_a_container_there_is_none() -> None:
    with pytest.raises(TunnelUnavailable), squall.forward(8000):
        pass
    for port in (0, 65536, "8000", True):
        with pytest.raises(InvalidError, match="port"):
            squall.forward(port)  # type: ignore[arg-type]  # what is no port


@pytest.mark.parametrize("process", ["server", "agent"])
def test_a_tunnel_is_there_again_after_one_of_ours_was_started_anew(running: House, process: str) -> None:
    with queues() as (told, done):
        call = serve.spawn(told, done)
        url = told.get(timeout=30)
        pid = json.loads(running.run("-m", "squall", "status", "--json").stdout)[process]["pid"]
        os.kill(pid, signal.SIGKILL)
        time.sleep(0.5)

        def answers() -> bool:
            try:
                with urllib.request.urlopen(url, timeout=5) as answer:
                    return bool(answer.status == 200)
            except OSError:
                return False

        eventually(answers, within_s=30)
        done.put(None)
        done.put(None)
        assert call.get(timeout=60) >= 1


def listens(port: int) -> bool:
    with socket.socket() as sock:
        sock.settimeout(1)
        return sock.connect_ex(("127.0.0.1", port)) == 0
