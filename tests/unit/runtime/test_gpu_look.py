"""Where a driver's files are found: a CDI spec, the loader, known folders, in this order."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from squall.runtime.cdi import paths_in
from squall.runtime.gpu_look import look_at_driver, look_at_gpus, nvml_library
from squall.runtime.ld_cache import libraries_in
from squall.runtime.nvml import DriverNvml, NvmlError

VERSION = "580.95.05"
ELF_64 = b"\x7fELF\x02" + b"\0" * 60
ELF_32 = b"\x7fELF\x01" + b"\0" * 60
LIBRARIES = ["libcuda.so", "libnvidia-ml.so", "libnvidia-ptxjitcompiler.so", "libnvidia-gpucomp.so"]


def add(root: Path, path: str, content: bytes = ELF_64) -> str:
    target = root / path.lstrip("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)
    return path


def add_driver(root: Path, folder: str, version: str = VERSION, content: bytes = ELF_64) -> list[str]:
    return [add(root, f"{folder}/{name}.{version}", content) for name in LIBRARIES]


def found(root: Path) -> dict[str, str]:
    return {library.name: library.path for library in look_at_driver(VERSION, str(root)).libraries}


def test_a_cdi_spec_says_where_they_are_and_its_hooks_say_nothing(tmp_path: Path) -> None:
    add_driver(tmp_path, "/opt/driver")
    add_driver(tmp_path, "/usr/local/nvidia/lib64")
    mounts = [{"hostPath": f"/opt/driver/{name}.{VERSION}", "containerPath": "/x"} for name in LIBRARIES]
    spec = {
        "kind": "nvidia.com/gpu",
        "containerEdits": {
            "mounts": [*mounts, {"hostPath": "/opt/driver/libother.so.1"}],
            "hooks": [{"hookName": "createContainer", "path": "/usr/bin/nvidia-ctk"}],
        },
    }
    add(tmp_path, "/etc/cdi/nvidia.json", json.dumps(spec).encode())
    add(tmp_path, "/usr/bin/nvidia-ctk")
    driver = look_at_driver(VERSION, str(tmp_path))
    assert driver.found_by == "cdi"
    assert {library.name for library in driver.libraries} == {
        "libcuda.so.1",
        "libnvidia-ml.so.1",
        "libnvidia-ptxjitcompiler.so.1",
        f"libnvidia-gpucomp.so.{VERSION}",
    }
    assert all(library.path.startswith("/opt/driver/") for library in driver.libraries)
    assert driver.programs == ()


def test_a_cdi_spec_in_yaml_is_read_as_well() -> None:
    spec = """
cdiVersion: 0.5.0
containerEdits:
  deviceNodes:
  - path: /dev/nvidiactl
  hooks:
  - hookName: createContainer
    path: /usr/bin/nvidia-ctk
  mounts:
  - containerPath: /usr/lib/libcuda.so.580.95.05
    hostPath: "/usr/lib/x86_64-linux-gnu/libcuda.so.580.95.05"
    options: [ro]
  - hostPath: /usr/bin/nvidia-smi  # the tool
    containerPath: /usr/bin/nvidia-smi
  - hostPath: /etc/../etc/shadow
kind: nvidia.com/gpu
"""
    assert paths_in(spec) == (
        "/dev/nvidiactl",
        "/usr/bin/nvidia-ctk",
        "/usr/lib/x86_64-linux-gnu/libcuda.so.580.95.05",
        "/usr/bin/nvidia-smi",
    )


def test_without_a_spec_a_known_folder_is_taken_and_the_loader_does_not_know_of_it(tmp_path: Path) -> None:
    add_driver(tmp_path, "/usr/local/nvidia/lib64")
    (tmp_path / "usr/local/nvidia/lib64/libcuda.so.1").symlink_to(f"libcuda.so.{VERSION}")
    add(tmp_path, "/usr/local/nvidia/bin/nvidia-smi", b"#!")
    driver = look_at_driver(VERSION, str(tmp_path))
    assert driver.found_by == "/usr/local/nvidia/lib64"
    assert not driver.loader_finds
    assert [program.path for program in driver.programs] == ["/usr/local/nvidia/bin/nvidia-smi"]
    assert found(tmp_path)["libcuda.so.1"] == f"/usr/local/nvidia/lib64/libcuda.so.{VERSION}"


def test_the_library_that_answers_questions_is_found_where_the_loader_does_not_look(tmp_path: Path) -> None:
    assert nvml_library(str(tmp_path)) == ""
    add_driver(tmp_path, "/usr/local/nvidia/lib64")
    (tmp_path / "usr/local/nvidia/lib64/libnvidia-ml.so.1").symlink_to(f"libnvidia-ml.so.{VERSION}")
    assert nvml_library(str(tmp_path)) == f"/usr/local/nvidia/lib64/libnvidia-ml.so.{VERSION}"
    add(tmp_path, "/usr/lib64/libnvidia-ml.so.1")
    assert nvml_library(str(tmp_path)) == "", "the loader finds it by itself"


def test_a_library_that_cannot_be_loaded_is_a_reason(tmp_path: Path) -> None:
    broken = tmp_path / "libnvidia-ml.so.1"
    broken.write_bytes(ELF_64)
    with pytest.raises(NvmlError, match=r"libnvidia-ml\.so\.1 cannot be loaded"):
        DriverNvml(str(broken))


def test_libraries_of_other_machines_and_links_that_lead_out_are_left(tmp_path: Path) -> None:
    root = tmp_path / "root"
    add_driver(root, "/usr/local/nvidia/lib64", content=ELF_32)
    outside = tmp_path / "beside" / "far" / f"libcuda.so.{VERSION}"
    outside.parent.mkdir(parents=True)
    outside.write_bytes(ELF_64)
    folder = root / "usr/lib64"
    folder.mkdir(parents=True)
    (folder / f"libcuda.so.{VERSION}").symlink_to(outside)
    assert found(root) == {}


def test_of_several_versions_that_of_the_driver_is_taken(tmp_path: Path) -> None:
    for version in ("470.1", VERSION, "999.1"):
        add_driver(tmp_path, "/usr/lib64", version)
    assert found(tmp_path)["libcuda.so.1"] == f"/usr/lib64/libcuda.so.{VERSION}"


def test_the_loaders_cache_is_read_as_its_own_tool_reads_it() -> None:
    said = subprocess.run(["/sbin/ldconfig", "-p"], capture_output=True, text=True, check=True).stdout
    wide = "x86-64" if os.uname().machine == "x86_64" else "AArch64"
    told: dict[str, str] = {}
    for line in said.splitlines()[1:]:
        name, _, rest = line.strip().partition(" (")
        kind, _, path = rest.partition(") => ")
        if kind == f"libc6,{wide}":
            told.setdefault(name, path)
    read = libraries_in(Path("/etc/ld.so.cache").read_bytes(), os.uname().machine)
    assert told
    assert {name: read.get(name) for name in told} == told


def test_a_cache_that_is_cut_off_or_none_is_empty() -> None:
    whole = Path("/etc/ld.so.cache").read_bytes()
    for cut in (b"", b"nonsense", whole[:10], whole[:60], whole[:-5000]):
        assert libraries_in(cut, os.uname().machine) == {}
    assert libraries_in(whole, "vax") == {}


@pytest.mark.needs("root")
def test_device_nodes_are_those_of_the_fixed_list_and_no_other_file(tmp_path: Path) -> None:
    (tmp_path / "dev").mkdir()
    for name, number in (("nvidia0", 0), ("nvidiactl", 255), ("nvidia-modeset", 254), ("sda", 1)):
        os.mknod(tmp_path / "dev" / name, stat.S_IFCHR | 0o666, os.makedev(195, number))
    (tmp_path / "dev/nvidia-uvm").write_text("a file")
    nodes = look_at_driver(VERSION, str(tmp_path)).nodes
    assert [(node.path, node.major, node.minor) for node in nodes] == [
        ("/dev/nvidia0", 195, 0),
        ("/dev/nvidiactl", 195, 255),
    ]


def test_a_recording_that_is_none_gives_no_device_and_says_why(tmp_path: Path) -> None:
    broken = tmp_path / "broken.json"
    broken.write_text('{"format": 99, "made": "later"}')
    assert "format 99" in look_at_gpus(str(broken)).refused
    missing = look_at_gpus(str(tmp_path / "missing.json"))
    assert not missing.devices
    assert "missing.json" in missing.refused


def test_looking_pulls_in_no_library_of_the_driver_before_it_is_asked() -> None:
    code = "import sys, squall.agent.main, squall.cli.doctor; print('pynvml' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "False"
