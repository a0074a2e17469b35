"""Which devices a container gets, and when one is clean, whatever is there."""

from __future__ import annotations

from hypothesis import given, strategies as st

from squall.model.gpu import Gpus
from squall.model.gpu_device import DeviceNode, Driver, DriverFile, GpuDevice, GpuUse
from squall.runtime.gpu_plan import chosen_files, plan_access, why_unusable
from squall.scheduling.gpu_assign import SLACK_BYTES, assign, left_behind, next_look_s

GIB = 2**30
names = st.sampled_from(["NVIDIA H100 80GB HBM3", "NVIDIA L4", "NVIDIA A100-SXM4-40GB"])
minors = st.lists(st.integers(0, 15), max_size=8, unique=True)


@st.composite
def machines(draw: st.DrawFn) -> tuple[GpuDevice, ...]:
    return tuple(
        GpuDevice(id=f"GPU-{minor}", name=draw(names), memory_bytes=24 * GIB, minor=minor)
        for minor in draw(minors)
    )


uses = st.builds(
    GpuUse,
    used_bytes=st.integers(0, 24 * GIB),
    pids=st.lists(st.integers(1, 9), max_size=3, unique=True).map(lambda pids: tuple(sorted(pids))),
)
DEVICE = GpuDevice(id="GPU-0", name="NVIDIA L4", memory_bytes=24 * GIB, minor=0)


@given(free=machines(), kind=st.sampled_from(["H100", "L4", "A100-40GB"]), count=st.integers(1, 8))
def test_a_container_gets_what_was_asked_for_or_nothing(
    free: tuple[GpuDevice, ...], kind: str, count: int
) -> None:
    got = assign(Gpus(type=kind, count=count), free)
    there = [device for device in free if device.type == kind]
    assert len(got) in (0, count)
    assert (len(got) == count) == (len(there) >= count)
    assert set(got) <= set(there)
    assert list(got) == sorted(got, key=lambda device: device.minor)


@given(before=uses)
def test_a_device_that_is_as_it_was_is_clean(before: GpuUse) -> None:
    assert left_behind(DEVICE, before, before) == ""
    fewer = GpuUse(used_bytes=before.used_bytes // 2, pids=before.pids[1:])
    assert left_behind(DEVICE, before, fewer) == ""


@given(before=uses, stranger=st.integers(10, 99))
def test_a_process_that_was_not_there_before_is_named(before: GpuUse, stranger: int) -> None:
    now = GpuUse(used_bytes=before.used_bytes, pids=(*before.pids, stranger))
    assert f"process {stranger} " in left_behind(DEVICE, before, now)


@given(before=uses, more=st.integers(1, 24 * GIB))
def test_more_memory_than_a_look_may_differ_by_is_not_clean(before: GpuUse, more: int) -> None:
    now = GpuUse(used_bytes=before.used_bytes + more, pids=before.pids)
    assert bool(left_behind(DEVICE, before, now)) == (more > SLACK_BYTES)


@given(now=uses)
def test_a_device_never_seen_clean_may_show_a_desktop_and_no_more(now: GpuUse) -> None:
    assert (left_behind(DEVICE, None, now) == "") == (not now.pids and now.used_bytes <= 3 * GIB)


@given(waited=st.floats(0, 1e6))
def test_looks_become_rarer_and_never_stop(waited: float) -> None:
    assert 0.05 <= next_look_s(waited) <= 5.0
    assert next_look_s(waited) <= next_look_s(waited * 2)


@given(devices=machines(), data=st.data())
def test_a_container_sees_its_own_devices_and_the_three_control_nodes_alone(
    devices: tuple[GpuDevice, ...], data: st.DataObject
) -> None:
    own = tuple(data.draw(st.lists(st.sampled_from(devices), unique=True, max_size=4))) if devices else ()
    control = ("/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools")
    driver = Driver(
        version="1.2",
        nodes=(
            *(DeviceNode(path=f"/dev/nvidia{d.minor}", major=195, minor=d.minor) for d in devices),
            *(DeviceNode(path=path, major=195, minor=200 + n) for n, path in enumerate(control)),
        ),
        libraries=(DriverFile(name="libcuda.so.1", path="/l/libcuda.so.1.2"),),
    )
    access = plan_access(driver, own, "/first")
    assert {node.path for node in access.nodes} == {*control, *(f"/dev/nvidia{d.minor}" for d in own)}
    assert all(not mount.writable and mount.target.startswith("/squall/gpu/") for mount in access.mounts)
    assert access.env["LD_LIBRARY_PATH"] == "/first:/squall/gpu/lib"
    assert (why_unusable(driver, devices) == "") == bool(devices)


@given(
    stems=st.lists(
        st.sampled_from(["libcuda.so", "libnvidia-ml.so", "libc.so", "libEvil.so", "libcuda.so.evil"]),
        unique=True,
    ),
    folder=st.sampled_from(["/a", "/b/c"]),
)
def test_no_file_but_those_of_the_fixed_list_is_ever_chosen(stems: list[str], folder: str) -> None:
    libraries, programs = chosen_files([f"{folder}/{stem}.5.1" for stem in stems] + ["/bin/sh"], "5.1")
    wanted = {stem for stem in stems if stem in ("libcuda.so", "libnvidia-ml.so")}
    assert {library.name.removesuffix(".1") for library in libraries} == wanted
    assert programs == ()
