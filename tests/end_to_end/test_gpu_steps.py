"""Steps of builds with GPUs, on a machine whose driver is a recording: devices, turns, refusals, and what stays of them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from squall.settings.process import is_alive
from squall.settings.record import read_record
from tests.end_to_end.image_house import fill, images, started, tiny_root
from tests.end_to_end.terminal import Said, Terminal, fresh_folder, leave_nothing, wait_until
from tests.linux.images.registry_server import registry_server
from tests.linux.images.wheels import make_wheel

pytestmark = [pytest.mark.needs("linux", "namespaces", "registry"), pytest.mark.timeout(240)]

PROGRAMS = Path(__file__).parent / "programs"
RECORDING = Path(__file__).parents[1] / "recordings" / "h100.by-hand.json"
H100 = "GPU-00000000-0000-4000-8000-000000000000"
# Only root can make nodes of devices that this machine has not got.
NODES = ["/dev/nvidia-uvm", "/dev/nvidia-uvm-tools", "/dev/nvidia0", "/dev/nvidiactl"]
LOOK = """echo devices $NVIDIA_VISIBLE_DEVICES $CUDA_VISIBLE_DEVICES
for node in /dev/nvidia*; do echo node $node; done
while read -r line; do echo driver $line; done < /proc/driver/nvidia/version
while read -r line; do echo library $line; done < $LD_LIBRARY_PATH/libcuda.so.1
echo built > /srv/built
"""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The reference of an image in which a shell runs."""
    place = tmp_path_factory.mktemp("images")
    with registry_server(place / "registry") as address:
        yield fill(address, "tiny:v1", tiny_root(place / "root"))


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    """A house whose driver has a library, so that there is something to be shown and not kept."""
    library = tmp_path / "libcuda.so.580"
    library.write_text("of the driver\n")
    recording = json.loads(RECORDING.read_text())
    recording["driver"]["libraries"] = [{"name": "libcuda.so.1", "path": str(library)}]
    (tmp_path / "recording.json").write_text(json.dumps(recording))
    folder = fresh_folder()
    environ = {"SQUALL_GPU_RECORDING": str(tmp_path / "recording.json"), "SQUALL_STOP_GRACE_S": "1"}
    one = Terminal(folder=folder, environ={**environ, "HOME": str(folder), "DOCKER_CONFIG": str(folder)})
    try:
        yield one
        leave_nothing(one)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def build(terminal: Terminal, *arguments: str) -> Said:
    done = subprocess.run(
        [sys.executable, str(PROGRAMS / "gpu_steps.py"), *arguments],
        env=terminal.environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return Said(status=done.returncode, out=done.stdout, err=done.stderr, took_s=0.0)


def status(terminal: Terminal) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(terminal.squall("status", "--json").out)
    return found


def out(terminal: Terminal) -> list[str]:
    """Why devices are held back."""
    return [one["why"] for node in status(terminal).get("nodes", []) for one in node["gpus_out"]]


def until(holds: Callable[[], Any]) -> None:
    wait_until(lambda: bool(holds()), within_s=40)


def test_a_step_sees_its_device_and_the_layer_keeps_nothing_of_the_driver(
    terminal: Terminal, tiny: str
) -> None:
    said = build(terminal, tiny, "h100", LOOK, "exit 1")
    assert f"  devices {H100} 0\n" in said.out, said
    if os.geteuid() == 0:
        assert [line for line in said.out.splitlines() if line.startswith("  node")] == [
            f"  node {node}" for node in NODES
        ]
    assert "  driver NVRM version: 580.159.04\n" in said.out, said
    assert "  library of the driver\n" in said.out, said
    (row,) = [
        row for row in images(terminal, "--all") if row["label"].startswith("run_commands echo devices")
    ]
    about = json.loads(terminal.squall("image", "inspect", row["key"], "--json").out)
    top = Path(about["layers"][-1]["rendered"])
    kept = sorted(path.relative_to(top).as_posix() for path in top.rglob("*"))
    assert kept == ["srv", "srv/built"], kept
    again = build(terminal, tiny, "H100:1", LOOK, "exit 1")
    assert "building run_commands exit 1" in again.out, again
    assert "devices" not in again.out, "the step was built again, and it is here"
    # For whoever asks for another type it is another step.
    other = build(terminal, tiny, "any", LOOK, "exit 1")
    assert f"  devices {H100} 0\n" in other.out, other
    assert out(terminal) == []


def test_what_this_machine_can_never_give_is_refused_before_anything_is_built(
    terminal: Terminal, tiny: str
) -> None:
    said = build(terminal, tiny, "A100,H100:2", "echo first; exit 1")
    said.is_error("SQ-1411", "run_commands echo first; exit 1", "A100, else H100:2", "GPUs: H100")
    assert "building" not in said.out, said


def test_a_step_waits_for_its_turn_and_says_why_and_no_container_comes_in_between(
    terminal: Terminal, tiny: str
) -> None:
    steps = str(PROGRAMS / "gpu_steps.py")
    hold = "echo has it; until [ -e /squall/build/inputs/go ]; do :; done; exit 1"
    with started(terminal, steps, tiny, "h100", hold) as (first, said):
        while said.readline() != "  has it\n":
            assert first.poll() is None
        (place,) = (terminal.state / "builds").glob("build-*")
        assert out(terminal) == ["a step of an image is built with it"]
        with (
            started(terminal, steps, tiny, "any", "echo its turn; exit 1") as (second, hears),
            started(terminal, str(PROGRAMS / "gpu_app.py"), "first", "0") as (function, gets),
        ):
            waits = "waits for a GPU (any): 0 of 1 H100 free; H100 GPU-"
            while not hears.readline().startswith(waits):
                assert second.poll() is None
            until(
                lambda: [
                    row for row in status(terminal).get("waiting", []) if "is built with it" in row["words"]
                ]
            )
            (place / "inputs" / "go").touch()
            assert first.wait(30) == 1
            assert "  its turn\n" in hears.read()
            assert second.wait(30) == 1
            assert f"'{H100}'" in gets.read()
            assert function.wait(60) == 0
    assert out(terminal) == []


def test_a_device_comes_back_from_a_step_that_is_given_up_and_from_one_whose_agent_died(
    terminal: Terminal, tiny: str
) -> None:
    steps = str(PROGRAMS / "gpu_steps.py")
    with started(terminal, steps, tiny, "h100", "echo has it; while :; do :; done") as (_, said):
        while said.readline() != "  has it\n":
            pass
    until(lambda: not out(terminal))
    with started(terminal, steps, tiny, "h100", "echo has it; while :; do :; done") as (_, said):
        while said.readline() != "  has it\n":
            pass
        record = read_record(terminal.state / "run" / "supervisor.json")
        assert record is not None
        os.kill(record.members["agent"].pid, signal.SIGKILL)

        def back() -> bool:
            found = read_record(terminal.state / "run" / "supervisor.json")
            agent = found.members.get("agent") if found is not None else None
            return agent is not None and agent != record.members["agent"] and is_alive(agent)

        until(back)
    assert "  again\n" in build(terminal, tiny, "h100", "echo again; exit 1").out


def test_packages_for_the_host_image_are_installed_beside_a_device(
    terminal: Terminal, tmp_path: Path
) -> None:
    make_wheel(tmp_path / "links", "tinyone", "1.0", {"tinyone.py": "VERSION = '1.0'\n"})
    text = f"""
import squall

app = squall.App("packed")
links = {str(tmp_path / "links")!r}
image = squall.Image.host().uv_pip_install("tinyone", find_links=links, extra_options="--no-index", gpu=GPU)


@app.function(image=image)
def version():
    return 1
"""
    refused = terminal.squall("image", "build", str(terminal.write(text.replace("GPU", "'A100'"))))
    refused.is_error("SQ-1411", "uv_pip_install tinyone asks for A100", "GPUs: H100")
    said = terminal.squall("image", "build", str(terminal.write(text.replace("GPU", "'H100'"))), within_s=60)
    assert said.status == 0, said
    assert out(terminal) == []


@pytest.mark.needs("network")
def test_a_function_of_a_build_computes_on_a_device(terminal: Terminal) -> None:
    said = terminal.run(
        """
import os
import squall

app = squall.App("compiled")


def compile_kernels():
    import pathlib
    nodes = sorted(name for name in os.listdir("/dev") if "nvidia" in name)
    pathlib.Path("/opt/saw").write_text(f"{nodes} {os.environ['NVIDIA_VISIBLE_DEVICES']}")


@app.function(image=squall.Image.debian_slim().run_function(compile_kernels, gpu=["A100", "any"]))
def look():
    return open("/opt/saw").read(), os.path.exists("/squall/gpu"), "NVIDIA_VISIBLE_DEVICES" in os.environ


@app.local_entrypoint()
def main():
    print(look.remote())
""",
        within_s=150,
    )
    nodes = [node.removeprefix("/dev/") for node in NODES] if os.geteuid() == 0 else []
    assert said.out == f"{(f'{nodes} {H100}', False, False)}\n", said
