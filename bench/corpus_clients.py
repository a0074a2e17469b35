"""Clients: what a container would do with each package of the corpus that speaks over a network."""

from __future__ import annotations

import asyncio
import concurrent.futures
import http.server
import json
import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from corpus_answers import WrongError, expect, load


def grpcio() -> None:
    grpc = load("grpc")
    echo = grpc.unary_unary_rpc_method_handler(lambda asked, _: asked + b"!")
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        server = grpc.server(pool)
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("s", {"echo": echo}),))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            expect(channel.unary_unary("/s/echo")(b"hello", timeout=20), b"hello!")
        server.stop(None).wait()


class _Answers(http.server.BaseHTTPRequestHandler):
    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        message = {"role": "assistant", "content": "hello"}
        body = json.dumps(
            {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "n": 42}
            | {"choices": [{"index": 0, "finish_reason": "stop", "message": message}]}
        ).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = _answer  # noqa: N815 - the names that the standard library calls

    def log_message(self, *_arguments: object) -> None:
        """Nothing: a thousand children would print it."""


@contextmanager
def _web() -> Iterator[str]:
    """A small web server in a thread of this process; gives its address."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Answers)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def openai() -> None:
    with _web() as address, load("openai").OpenAI(api_key="x", base_url=f"{address}/v1") as client:
        got = client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hi"}])
        expect(got.choices[0].message.content, "hello")


def httpx() -> None:
    async def again(address: str) -> int:
        async with load("httpx").AsyncClient() as client:
            return int((await client.get(address)).json()["n"])

    with _web() as address:
        expect(load("httpx").get(address).json()["n"], 42)
        expect(asyncio.run(again(address)), 42)


def requests() -> None:
    with _web() as address:
        expect(load("requests").get(address, timeout=20).json()["n"], 42)


def boto3() -> None:
    with _web() as address:
        client = load("boto3").client(
            "sts",
            region_name="eu-west-1",
            endpoint_url=address,
            aws_access_key_id="a",
            aws_secret_access_key="b",
        )
        url = client.generate_presigned_url("get_caller_identity")
        expect("Signature" in url, True)


def aiohttp() -> None:
    web = load("aiohttp.web")

    async def both() -> str:
        async def hello(_request: Any) -> Any:
            return web.Response(text="hello")

        app = web.Application()
        app.router.add_get("/", hello)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        async with (
            load("aiohttp").ClientSession() as client,
            client.get(f"http://127.0.0.1:{port}/") as answer,
        ):
            text = str(await answer.text())
        await runner.cleanup()
        return text

    expect(asyncio.run(both()), "hello")


def fastapi() -> None:
    app = load("fastapi").FastAPI()
    app.get("/double")(lambda number: {"n": int(number) * 2})
    uvicorn = load("uvicorn")
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        port = listening.getsockname()[1]
        got = load("httpx").get(f"http://127.0.0.1:{port}/double?number=21", timeout=20).json()
        server.should_exit = True
        thread.join()
    expect(got, {"n": 42})


def uvloop() -> None:
    async def answer() -> int:
        with _web() as address:
            port = int(address.rpartition(":")[2])
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET / HTTP/1.0\r\n\r\n")
            line = await reader.readline()
            writer.close()
            return int(line.split()[1])

    expect(load("uvloop").run(answer()), 200)


def gevent() -> None:
    module = load("gevent")
    jobs = [module.spawn(abs, -number) for number in range(20)]
    module.joinall(jobs, timeout=20)
    expect(sum(job.value for job in jobs), 190)


def psycopg() -> None:
    module = load("psycopg")
    expect(
        load("psycopg.sql").SQL("select {}").format(load("psycopg.sql").Literal(1)).as_string(), "select 1"
    )
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
    try:
        module.connect(f"host=127.0.0.1 port={port} connect_timeout=20")
    except module.OperationalError:
        return
    raise WrongError("connected to nobody")


class _Redis(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        while line := self.rfile.readline():
            if not line.startswith(b"*"):
                return
            words = []
            for _ in range(int(line[1:])):
                self.rfile.readline()
                words.append(self.rfile.readline().strip().upper())
            self.wfile.write(b"$5\r\nvalue\r\n" if words[0] == b"GET" else b"+OK\r\n")


def redis() -> None:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Redis) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        client = load("redis").Redis(port=server.server_address[1], protocol=2)
        expect(client.get("key"), b"value")
        client.close()
        server.shutdown()
        thread.join()
