"""What a container's network reaches, printed as JSON."""

from __future__ import annotations

import json
import os
import socket
import time
from typing import Any

import squall

app = squall.App("look-around")


def ask(address: str, port: int = 80) -> str:
    """What a server there says, or the error."""
    try:
        with socket.create_connection((address, port), timeout=2) as there:
            return there.recv(100).decode()
    except OSError as problem:
        return repr(problem)


def found(addresses: str) -> dict[str, Any]:
    devices = sorted(name for _, name in socket.if_nameindex())
    return {"devices": devices, "answers": {one: ask(one) for one in addresses.split(",")}}


def say_abstract(name: str) -> list[str]:
    """How it went to connect to an abstract socket of one's own, and to one that somebody else has."""
    said = []
    with socket.socket(socket.AF_UNIX) as own:
        own.bind("\0squall-tests-inside")
        own.listen()
        for one in ("squall-tests-inside", name):
            with socket.socket(socket.AF_UNIX) as asker:
                try:
                    asker.connect("\0" + one)
                    said.append("")
                except OSError as problem:
                    said.append(repr(problem))
    return said


@app.function(scaledown_window=2)
def around(addresses: str) -> dict[str, Any]:
    return found(addresses)


@app.function(scaledown_window=2, block_network=True)
def without(addresses: str) -> dict[str, Any]:
    return found(addresses)


@app.function(scaledown_window=2, level=os.environ.get("LEVEL"))
def around_at_level(addresses: str) -> dict[str, Any]:
    return found(addresses)


@app.function(scaledown_window=2)
def sockets(name: str) -> list[str]:
    return say_abstract(name)


@app.function(scaledown_window=2, block_network=True)
def sockets_without(name: str) -> list[str]:
    return say_abstract(name)


def own_address() -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        # A datagram socket that is connected has sent nothing yet, and has its address.
        any_socket.connect(("203.0.113.1", 9))
        return str(any_socket.getsockname()[0])


@app.function(scaledown_window=2)
def listen() -> Any:
    """Its address, and then how many came to its port."""
    with socket.create_server(("0.0.0.0", 8080)) as server:
        server.settimeout(3)
        yield own_address()
        try:
            server.accept()
        except TimeoutError:
            yield 0
        else:
            yield 1


@app.function(scaledown_window=2)
def ask_other(address: str) -> list[str]:
    own = own_address()
    return [own, ask(address, 8080) if own != address else "Error: it is this one's own"]


@app.function(scaledown_window=2)
def ask_twice(address: str) -> str:
    print(ask(address), flush=True)
    time.sleep(3)
    return ask(address)


@app.local_entrypoint()
def look(addresses: str) -> None:
    print(json.dumps(around.remote(addresses)))


@app.local_entrypoint()
def at_level(addresses: str) -> None:
    print(json.dumps(around_at_level.remote(addresses)))


@app.local_entrypoint()
def blocked(addresses: str) -> None:
    print(json.dumps(without.remote(addresses)))


@app.local_entrypoint()
def abstract(name: str) -> None:
    print(json.dumps(sockets.remote(name)))


@app.local_entrypoint()
def abstract_blocked(name: str) -> None:
    print(json.dumps(sockets_without.remote(name)))


@app.local_entrypoint()
def pair() -> None:
    listening = listen.remote_gen()
    listener = next(listening)
    asker, answer = ask_other.remote(listener)
    print(json.dumps({"listener": listener, "asker": asker, "answer": answer, "listened": next(listening)}))


@app.local_entrypoint()
def twice(address: str) -> None:
    print(json.dumps(ask_twice.remote(address)))


@app.local_entrypoint()
def everything(addresses: str, name: str) -> None:
    """All of it in one run, so that what is demanded of starts is made once."""
    listening = listen.remote_gen()
    listener = next(listening)
    asker, answer = ask_other.remote(listener)
    said = {
        "around": around.remote(addresses),
        "without": without.remote(addresses),
        "sockets": sockets.remote(name),
        "sockets_without": sockets_without.remote(name),
        "pair": {"listener": listener, "asker": asker, "answer": answer, "listened": next(listening)},
    }
    print(json.dumps(said))
