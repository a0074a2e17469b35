"""What a container sees of GPUs: the nodes and texts that its spec names, and nothing where it names none."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from squall.model.gpu_device import DeviceNode, Driver, DriverFile, GpuDevice
from squall.runtime.gpu_plan import plan_access
from tests.linux.runtime.box import Box

# No driver answers to it, which the nodes need not mind: what is made and shown is what counts here.
_MAJOR = 195

_LOOK = """
import json, os
def numbers(name):
    seen = os.stat("/dev/" + name)
    return [os.major(seen.st_rdev), os.minor(seen.st_rdev), oct(seen.st_mode)]
found = {name: numbers(name) for name in sorted(os.listdir("/dev")) if "nvidia" in name}
driver = "/proc/driver"
texts = {os.path.relpath(os.path.join(at, name), driver): open(os.path.join(at, name)).read()
         for at, _, names in os.walk(driver) for name in names}
print(json.dumps([found, texts]))
"""


@pytest.fixture
def shown() -> Iterator[tuple[DeviceNode, ...]]:
    """Nodes of the host: an ordinary user's launcher can show only what is there."""
    minor = 200 + os.getpid() % 700
    nodes = tuple(DeviceNode(path=f"/dev/nvidia{minor + n}", major=_MAJOR, minor=minor + n) for n in range(2))
    made = []
    try:
        for node in nodes:
            os.mknod(node.path, stat.S_IFCHR | 0o666, os.makedev(node.major, node.minor))
            os.chmod(node.path, 0o666)
            made.append(node.path)
        yield nodes
    finally:
        for path in made:
            os.unlink(path)


@pytest.mark.needs("root")
def test_a_container_has_the_nodes_that_it_was_given_and_no_other(
    box: Box, shown: tuple[DeviceNode, ...]
) -> None:
    first, second = shown
    found, _texts = box.run(_LOOK, devices=(first,)).json()
    assert found == {first.path.removeprefix("/dev/"): [_MAJOR, first.minor, oct(stat.S_IFCHR | 0o666)]}
    found, _texts = box.run(_LOOK, devices=(first, second)).json()
    assert len(found) == 2


@pytest.mark.needs("root")
def test_a_container_without_gpus_sees_no_device_and_makes_none(
    box: Box, shown: tuple[DeviceNode, ...]
) -> None:
    assert box.run(_LOOK).json() == [{}, {}]
    first = shown[0]
    code = f"""
import os, stat
for at in ("/tmp", "/app", "/dev/shm"):
    try:
        os.mknod(at + "/gpu", stat.S_IFCHR | 0o666, os.makedev({first.major}, {first.minor}))
        print("made")
    except OSError as refused:
        print(refused.strerror)
"""
    assert "made" not in box.run(code).out


def test_what_the_driver_would_say_below_proc_is_read_and_not_written(box: Box) -> None:
    texts = {"nvidia/params": "ModifyDeviceFiles: 0\n", "nvidia/version": "NVRM version: 1\n"}
    found, read = box.run(_LOOK, driver_texts=texts).json()
    assert found == {}
    assert read == (texts if os.path.isdir("/proc/driver") else {})
    code = """
for name in ("/proc/driver/nvidia/params", "/proc/driver/made"):
    try:
        open(name, "w")
        print("written")
    except OSError as refused:
        print(refused.strerror)
"""
    assert "written" not in box.run(code, driver_texts=texts).out


def test_libraries_stand_in_a_folder_of_our_own_and_cannot_be_written(box: Box, tmp_path: Path) -> None:
    library = box.top / "src" / "libcuda.so.580.1"
    library.write_bytes(b"the driver's")
    library.chmod(0o644)
    driver = Driver(version="580.1", libraries=(DriverFile(name="libcuda.so.1", path=str(library)),))
    device = GpuDevice(id="GPU-1", name="NVIDIA H100", memory_bytes=2**36, minor=0)
    access = plan_access(driver, (device,))
    code = """
import os
where = os.environ["LD_LIBRARY_PATH"]
print(sorted(os.listdir(where)), open(where + "/libcuda.so.1").read(), os.environ["CUDA_VISIBLE_DEVICES"])
try:
    open(where + "/libcuda.so.1", "w")
except OSError as refused:
    print(refused.strerror)
"""
    out = box.run(code, mounts=(*box.mounts(), *access.mounts), env=dict(access.env)).out.splitlines()
    assert out[0] == "['libcuda.so', 'libcuda.so.1'] the driver's 0"
    assert out[1] == "Read-only file system"
