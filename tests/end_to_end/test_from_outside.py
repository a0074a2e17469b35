"""What the command line shows of a running app, and does to it."""

import contextlib
import fcntl
import json
import os
import pty
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

SOURCES = Path(__file__).parents[2] / "src"
PROGRAM = """
import time
import squall

app = squall.App("outside")

@app.function()
def nap(seconds: float) -> float:
    print("napping", flush=True)
    print("dangerous \\x1b]0;title\\x07 text", flush=True)
    time.sleep(seconds)
    return seconds

if __name__ == "__main__":
    with app.run():
        print("GAVE", nap.remote(120.0), flush=True)
"""


class Terminal:
    """Somebody with an app that runs, who types commands beside it."""

    def __init__(self, folder: Path) -> None:
        (folder / "outside.py").write_text(PROGRAM)
        self.environ = {
            **os.environ,
            "SQUALL_STATE_DIR": str(folder / "state"),
            "PYTHONPATH": str(SOURCES),
            "NO_COLOR": "1",
        }
        self.said = folder / "said"
        with self.said.open("wb") as said:
            self.client = subprocess.Popen(
                [sys.executable, str(folder / "outside.py")],
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
            )
        self.sees("napping")

    def sees(self, text: str) -> None:
        until_s = time.monotonic() + 60
        while text not in self.said.read_text():
            assert time.monotonic() < until_s, self.said.read_text()
            assert self.client.poll() is None, self.said.read_text()
            time.sleep(0.02)

    def types(self, *arguments: str, typed: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "squall", *arguments],
            env=self.environ,
            input=typed,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def asks(self, *arguments: str) -> Any:
        done = self.types(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def container(self) -> str:
        (row,) = self.asks("container", "list")
        return str(row["id"])


@pytest.fixture(scope="module")
def terminal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminal]:
    terminal = Terminal(tmp_path_factory.mktemp("outside"))
    yield terminal
    terminal.client.terminate()
    terminal.client.wait(30)
    assert terminal.types("down").returncode == 0


def test_status_lists_every_process(terminal: Terminal) -> None:
    found = terminal.asks("status")
    (container,) = found["containers"]
    pids = [found[name]["pid"] for name in ("supervisor", "server", "agent")]
    pids += [launcher["pid"] for launcher in found["launchers"]]
    pids += [container["pid"]]
    assert all(os.path.exists(f"/proc/{pid}") for pid in pids)
    assert container["launcher_pid"] in {launcher["pid"] for launcher in found["launchers"]}
    assert found["busy"]
    assert "outside" in found["why_busy"]


def test_apps_and_containers_are_listed_for_people_too(terminal: Terminal) -> None:
    (app,) = terminal.asks("app", "list")
    assert (app["name"], app["functions"]) == ("outside", ["nap"])
    assert app["id"] in terminal.types("app", "list").stdout
    assert terminal.container() in terminal.types("container", "list").stdout


def test_a_command_in_a_container_gets_its_streams_and_gives_its_status(terminal: Terminal) -> None:
    done = terminal.types(
        "container",
        "exec",
        terminal.container(),
        "--",
        "sh",
        "-c",
        "cat; echo err >&2; exit 7",
        typed="through",
    )
    assert (done.stdout, done.stderr, done.returncode) == ("through", "err\n", 7)


def test_a_command_ended_by_a_signal_gives_128_and_its_number(terminal: Terminal) -> None:
    assert (
        terminal.types("container", "exec", terminal.container(), "sh", "-c", "kill -9 $$").returncode == 137
    )


def test_much_output_of_a_command_arrives_whole(terminal: Terminal) -> None:
    done = terminal.types("container", "exec", terminal.container(), "head", "-c", "3000000", "/dev/zero")
    assert len(done.stdout) == 3_000_000


def test_a_program_that_is_not_there_and_a_container_that_is_not_there_are_named(terminal: Terminal) -> None:
    done = terminal.types("container", "exec", terminal.container(), "no-such-program")
    assert done.returncode in {1, 127}
    assert "Traceback" not in done.stderr
    missing = terminal.types("container", "exec", "co-missing", "true")
    assert missing.returncode == 1
    assert "SQ-1011" in missing.stderr


def test_a_shell_is_found_by_its_function(terminal: Terminal) -> None:
    done = terminal.types("shell", "nap", "--command", 'echo in "$0"; exit 3')
    assert (done.stdout, done.returncode) == ("in /bin/sh\n", 3)
    assert terminal.types("shell", "other").returncode == 1


def test_a_shell_on_a_terminal_has_one_of_its_own_with_our_size(terminal: Terminal) -> None:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 33, 101, 0, 0))
    environ = {name: value for name, value in terminal.environ.items() if name not in {"COLUMNS", "LINES"}}
    argv = [sys.executable, "-m", "squall", "container", "exec", terminal.container(), "sh"]
    shell = subprocess.Popen(
        argv, env=environ, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    )
    os.close(theirs)
    try:
        os.write(ours, b"stty size; test -t 0 && echo is-a-terminal; exit 5\n")
        said = _all(ours)
        assert shell.wait(30) == 5, said
        assert "33 101" in said
        assert "\nis-a-terminal" in said
    finally:
        shell.kill()
        os.close(ours)


def test_a_shell_on_a_terminal_asks_for_what_to_run(terminal: Terminal) -> None:
    ours, theirs = pty.openpty()
    argv = [sys.executable, "-m", "squall", "shell", "nap"]
    shell = subprocess.Popen(
        argv, env=terminal.environ, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    )
    os.close(theirs)
    said = ""
    try:
        while not said.endswith(("$ ", "# ")):
            said += os.read(ours, 65_536).decode()
        os.write(ours, b"exit 4\n")
        _all(ours)
        assert shell.wait(30) == 4, said
    finally:
        shell.kill()
        os.close(ours)


def test_what_was_printed_is_kept_and_no_terminal_obeys_it(terminal: Terminal) -> None:
    said = terminal.types("logs", "outside").stdout
    assert "napping" in said
    assert "dangerous \\x1b]0;title\\x07 text" in said
    lines = terminal.types("logs", "--function", "nap", "--grep", "^nap", "--json").stdout.splitlines()
    assert [json.loads(line)["text"] for line in lines] == ["napping"]
    assert terminal.types("container", "logs", terminal.container()).stdout.count("napping") == 1
    assert terminal.types("logs", "outside", "--since", "0s").stdout == ""


def test_a_container_is_stopped_and_its_input_runs_again(terminal: Terminal) -> None:
    before = terminal.container()
    assert terminal.types("container", "stop", before).returncode == 0
    until_s = time.monotonic() + 30
    while (rows := terminal.asks("container", "list")) and rows[0]["id"] == before:
        assert time.monotonic() < until_s
    assert terminal.client.poll() is None


def test_down_refuses_a_busy_server_only_where_asked_to(terminal: Terminal) -> None:
    refused = terminal.types("down", "--if-idle")
    assert refused.returncode == 1
    assert "busy" in refused.stderr


def test_an_app_is_stopped_and_its_client_is_told(terminal: Terminal) -> None:
    assert terminal.types("app", "stop", "outside").returncode == 0
    assert terminal.client.wait(30) != 0
    assert "SQ-1312" in terminal.said.read_text()
    assert terminal.types("app", "stop", "outside").returncode == 1


def _all(ours: int) -> str:
    said = b""
    with contextlib.suppress(OSError):  # EIO: nobody holds the other side any more
        while piece := os.read(ours, 4096):
            said += piece
    return said.decode()
