"""The examples, run as a user runs them: through the command line, on a server that the first of them starts."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

pytestmark = pytest.mark.needs("linux")

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shell:
    """A shell whose Squall keeps its state in a directory of this test module."""

    environment: dict[str, str]

    def squall(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "squall", *words]

    def run(self, *words: str, limit_s: float = 100) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.squall(*words),
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=limit_s,
            check=False,
        )


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    state = tmp_path_factory.mktemp("state")
    paths = [str(ROOT / "src"), *filter(None, [os.environ.get("PYTHONPATH")])]
    mine = Shell(
        environment={**os.environ, "SQUALL_STATE_DIR": str(state), "PYTHONPATH": os.pathsep.join(paths)}
    )
    yield mine
    mine.run("down")


def test_hello_prints_the_results_and_what_the_containers_said(shell: Shell) -> None:
    done = shell.run("run", str(EXAMPLES / "hello.py"))
    assert done.returncode == 0, done.stderr
    assert "one call: 49" in done.stdout
    assert "a map: [0, 1, 4, 9, 16]" in done.stdout
    said = done.stdout + done.stderr
    assert "7 x 7, in process" in said


def test_hello_takes_a_typed_flag(shell: Shell) -> None:
    done = shell.run("run", str(EXAMPLES / "hello.py"), "--number", "12")
    assert done.returncode == 0, done.stderr
    assert "one call: 144" in done.stdout


def test_scale_out_spreads_a_thousand_inputs_over_every_core(shell: Shell) -> None:
    done = shell.run("run", str(EXAMPLES / "scale_out.py"))
    assert done.returncode == 0, done.stderr
    assert "26,355,867 primes below 500,000,000" in done.stdout
    shares = [
        int(share.replace(",", "")) for share in re.findall(r"([\d,]+) inputs answered by", done.stdout)
    ]
    assert sum(shares) == 1_000
    assert len(shares) >= min(2, os.cpu_count() or 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What came through a pipe: the text, and the second at which each piece was read."""

    text: str
    at_s: tuple[float, ...]
    code: int


def listen(shell: Shell, *words: str) -> Heard:
    """Runs a command and reads its standard output as it is written."""
    with subprocess.Popen(
        shell.squall(*words), env=shell.environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as child:
        assert child.stdout is not None
        pieces: list[bytes] = []
        at_s: list[float] = []
        while piece := os.read(child.stdout.fileno(), 65536):
            pieces.append(piece)
            at_s.append(time.monotonic())
    return Heard(text=b"".join(pieces).decode(), at_s=tuple(at_s), code=child.returncode)


@pytest.mark.needs("namespaces", "network")  # an image with packages of its own
@pytest.mark.timeout(400)
def test_the_language_model_answers_piece_by_piece(shell: Shell) -> None:
    example = str(EXAMPLES / "llm_inference.py")
    first = shell.run("run", example, "--prompt", "What is gravity?", "--max-tokens", "40", limit_s=300)
    assert first.returncode == 0, first.stderr
    assert len(first.stdout.split()) >= 10

    heard = listen(shell, "run", example, "--prompt", "Write a long story.", "--max-tokens", "150")
    assert heard.code == 0
    assert len(heard.text.split()) >= 50
    # Written at the end in one go, 150 pieces would pass through the pipe within some milliseconds.
    assert len(heard.at_s) >= 20
    assert heard.at_s[-1] - heard.at_s[0] >= 0.2


@pytest.mark.needs("namespaces", "network")  # an image with packages of its own
def test_a_prompt_longer_than_the_model_can_read_is_refused_by_the_model(shell: Shell) -> None:
    done = shell.run("run", str(EXAMPLES / "llm_inference.py"), "--prompt", "hello there " * 2_000)
    assert done.returncode != 0
    assert "exceeds the available context size" in done.stdout + done.stderr
