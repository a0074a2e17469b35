"""The program of the evidence: what a user would write, one check a run; its figures are printed as one JSON line.

It is copied to a folder of its own and run there: `python gpu_program.py CHECK`. Its checks are plain programs, so that
each can be read, and run by hand. Every check gives its figures, and where it fails a sentence.
"""

import importlib
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

import squall
from squall.model.errors import Error, NoNodeFits
from squall.runtime.gpu_look import RECORDING_VARIABLE, look_at_gpus
from squall.sdk.client import Client

TYPE = os.environ.get("SQUALL_EVIDENCE_TYPE", "any")
COUNT = int(os.environ.get("SQUALL_EVIDENCE_COUNT", "1"))
ALL = f"{TYPE}:{COUNT}"
PLACEMENT: Any = {"cpu": 1, "scaledown_window": 2, "startup_timeout": 240, "timeout": 240}
GIB = 2**30
Figures = dict[str, Any]

app = squall.App("gpu-evidence")


class Failed(Exception):  # noqa: N818 - a check's verdict
    """A check did not hold; its figures are told all the same."""

    def __init__(self, why: str, figures: Figures) -> None:
        super().__init__(why)
        self.figures = figures


# What runs in containers.


@app.function(gpu=TYPE, **PLACEMENT)
def look_around(*, with_torch: bool) -> Figures:
    """What a container sees of GPUs."""
    seen: Figures = {
        "nodes": sorted(name for name in os.listdir("/dev") if "nvidia" in name),
        "visible": os.environ.get("CUDA_VISIBLE_DEVICES", ""),
        "interpreter": sys.executable,
    }
    if with_torch:
        torch = importlib.import_module("torch")
        seen |= {"torch": str(torch.__version__), "devices": torch.cuda.device_count()}
        seen |= {"name": torch.cuda.get_device_name(0), "cuda": torch.version.cuda}
    return seen


@app.function(**PLACEMENT)
def look_around_without() -> list[str]:
    """What a container sees that asked for none."""
    return sorted(name for name in os.listdir("/dev") if "nvidia" in name)


@app.function(gpu=f"{TYPE}:16", **PLACEMENT)
def ask_for_too_many() -> None:
    """No machine has this many."""


@app.function(gpu=TYPE, **PLACEMENT)
def first_kernel() -> Figures:
    """The first kernel of a new process: seconds for the import, and from there to its checked result."""
    return run_first_kernel()


@app.function(gpu=TYPE, **PLACEMENT)
def multiply() -> Figures:
    """Two matrix products: one compared with the processor's, number by number, and one timed."""
    torch = importlib.import_module("torch")
    torch.manual_seed(7)
    left, right = torch.randn(1024, 1024, dtype=torch.float64), torch.randn(1024, 1024, dtype=torch.float64)
    worst = float(((left.cuda() @ right.cuda()).cpu() - left @ right).abs().max())
    size, rounds = 8192, 20
    wide = torch.randn(size, size, device="cuda", dtype=torch.bfloat16)
    other = torch.randn(size, size, device="cuda", dtype=torch.bfloat16)
    for _ in range(5):
        product = wide @ other
    torch.cuda.synchronize()
    began_s = time.perf_counter()
    for _ in range(rounds):
        product = wide @ other
    torch.cuda.synchronize()
    each_s = (time.perf_counter() - began_s) / rounds
    return {
        "worst_difference": worst,
        "bf16_8192_tflops": round(2 * size**3 / each_s / 1e12, 1),
        "finite": bool(torch.isfinite(product).all()),
    }


@app.function(gpu=TYPE, **PLACEMENT)
def compute_until(until_s: float, gib: int) -> str:
    """Holds memory and computes in one kernel after the other until an instant (of the wall clock)."""
    if time.time() > until_s:
        return "ran again, later than its end"
    torch = importlib.import_module("torch")
    held = torch.empty(gib * GIB, dtype=torch.uint8, device="cuda")
    while time.time() < until_s:
        held.add_(1)
        # One kernel of some seconds, in whose middle the process is killed.
        torch.cuda._sleep(4_000_000_000)
        torch.cuda.synchronize()
    return "ran to its end"


@app.function(gpu=ALL, **PLACEMENT)
def take_all(seconds: float) -> float:
    """Has every device of this machine for a while; when it began (the wall clock)."""
    began_s = time.time()
    time.sleep(seconds)
    return began_s


@app.function(gpu=ALL, **PLACEMENT)
def take_all_too() -> float:
    """The same, by another function, which has to wait its turn."""
    return time.time()


@app.function(gpu=TYPE, **PLACEMENT)
def answer(prompt: list[int], count: int) -> Figures:
    """A small transformer with random weights goes on with a prompt, greedily, on the device and on the processor."""
    torch = importlib.import_module("torch")
    torch.manual_seed(11)
    model = small_transformer(torch)
    on_device = small_transformer(torch)
    on_device.load_state_dict(model.state_dict())
    on_device = on_device.to("cuda")
    tokens, each_s = go_on(torch, on_device, prompt, count)
    with torch.no_grad():
        text = torch.tensor([prompt])
        apart = (on_device(text.cuda()).cpu() - model(text)).abs().max()
    return {"tokens": tokens, "ms_a_token": round(each_s * 1000, 2), "worst_difference": float(apart)}


def small_transformer(torch: Any) -> Any:
    """Four layers of attention over 256 symbols; 3.3 million weights."""
    nn: Any = torch.nn
    module: Any = nn.Module

    class Model(module):  # type: ignore[misc]  # torch is the machine's own, and has no types here
        def __init__(self) -> None:
            super().__init__()
            self.symbols = nn.Embedding(256, 256)
            self.places = nn.Embedding(256, 256)
            layer = nn.TransformerEncoderLayer(256, 8, 1024, dropout=0.0, batch_first=True, norm_first=True)
            self.layers = nn.TransformerEncoder(layer, 4, enable_nested_tensor=False)
            self.head = nn.Linear(256, 256)

        def forward(self, text: Any) -> Any:
            length = text.shape[1]
            mask = nn.Transformer.generate_square_subsequent_mask(length, device=text.device)
            seen = self.symbols(text) + self.places(torch.arange(length, device=text.device))
            return self.head(self.layers(seen, mask=mask))

    return Model().eval()


def go_on(torch: Any, model: Any, prompt: list[int], count: int) -> tuple[list[int], float]:
    """The next tokens, and seconds for each but the first."""
    text = torch.tensor([prompt], device="cuda")
    began_s = 0.0
    with torch.no_grad():
        for number in range(count):
            if number == 1:
                torch.cuda.synchronize()
                began_s = time.perf_counter()
            nearest = model(text)[0, -1].argmax()
            text = torch.cat([text, nearest.view(1, 1)], dim=1)
    torch.cuda.synchronize()
    found: list[int] = text[0, len(prompt) :].tolist()
    return found, (time.perf_counter() - began_s) / (count - 1)


def run_first_kernel() -> Figures:
    """The first kernel of this process; also what bare Python runs, for comparison."""
    began_s = time.perf_counter()
    torch = importlib.import_module("torch")
    imported_s = time.perf_counter()
    total = float(torch.ones(1000, device="cuda").sum())
    return {
        "import_s": round(imported_s - began_s, 3),
        "kernel_s": round(time.perf_counter() - imported_s, 3),
        "right": total == 1000.0,
    }


# The checks, from outside.


def request() -> Figures:
    """One device is asked for, seen and alone; a function that asks for none sees none."""
    began_s = time.perf_counter()
    seen = look_around.remote(with_torch=not is_fake())
    figures = {"cold_s": round(time.perf_counter() - began_s, 3), **seen, "start": start_of("look_around")}
    without = look_around_without.remote()
    own = [name for name in seen["nodes"] if name.removeprefix("nvidia").isdigit()]
    if without:
        raise Failed(f"a function without gpu= sees {without}", figures)
    if is_fake():
        return figures
    if len(own) != 1 or seen["devices"] != 1:
        raise Failed("it does not see one device alone", figures)
    return figures


def refused() -> Figures:
    """What no machine has is refused at once, with what they have."""
    began_s = time.perf_counter()
    try:
        ask_for_too_many.remote()
    except NoNodeFits as error:
        figures = {"refused_s": round(time.perf_counter() - began_s, 3), "error": str(error)}
        if "GPUs on all machines: " not in str(error):
            raise Failed("the error does not say what there is", figures) from None
        return figures
    raise Failed("it was not refused", {})


def product() -> Figures:
    """A matrix product is right."""
    figures: Figures = multiply.remote()
    if figures["worst_difference"] > 1e-9 or not figures["finite"]:
        raise Failed("the product differs from the processor's", figures)
    return figures


def killed() -> Figures:
    """Kill -9 in the middle of a kernel frees the memory, and the input runs again."""
    look = look_at_gpus(os.environ.get(RECORDING_VARIABLE, ""))
    nvml = look.nvml
    if nvml is None:
        raise Failed(look.refused, {})
    idle = {device.id: nvml.use(device.id).used_bytes for device in look.devices}
    call = compute_until.spawn(time.time() + 60, 4)
    wait_until(
        lambda: any(row["gpu_ids"] for row in rows_of("compute_until")), 60, "no container has a device"
    )
    row = row_of("compute_until")
    device = row["gpu_ids"][0]
    before = idle[device]
    wait_until(lambda: nvml.use(device).used_bytes > before + 4 * GIB, 120, "the memory was not taken")
    # Into the middle of a kernel, which lasts some seconds.
    time.sleep(1.0)
    held = nvml.use(device).used_bytes
    os.kill(int(row["pid"]), signal.SIGKILL)
    began_s = time.perf_counter()
    wait_until(lambda: nvml.use(device).used_bytes < before + GIB // 2, 60, "the memory was not freed")
    freed_s = round(time.perf_counter() - began_s, 3)
    seen: list[Any] = []

    def another() -> bool:
        seen[:] = [one for one in rows_of("compute_until") if one["id"] != row["id"] and one["pid"]]
        return bool(seen)

    wait_until(another, 60, "no other container was started for its input")
    again_s = round(time.perf_counter() - began_s, 3)
    call.cancel()
    return {"held_mib": (held - before) // 2**20, "freed_s": freed_s, "next_container_s": again_s}


def queue() -> Figures:
    """Two functions that want the same devices take turns, and the one that waits is told why."""
    first = take_all.spawn(4.0)
    wait_until(lambda: bool(rows_of("take_all")), 60, "the first never began")
    began_s = time.time()
    second = take_all_too.spawn()
    words: list[str] = []

    def told() -> bool:
        words[:] = [row["words"] for row in status()["waiting"] if row["reason"] == "no_capacity"]
        return bool(words)

    wait_until(told, 30, "nothing said that it waits")
    first_s, second_s = first.get(), second.get()
    figures = {"words": words[0], "waited_s": round(second_s - began_s, 3)}
    if "GPU" not in words[0] or second_s < first_s + 4.0:
        raise Failed("they did not take turns", figures)
    return figures


def cold() -> Figures:
    """The first kernel in a new container, against a new bare interpreter on the same machine, in turns."""
    rounds: list[Figures] = []
    for _ in range(3):
        began_s = time.perf_counter()
        bare = subprocess.run(
            [sys.executable, "-c", "import gpu_program; gpu_program.run_first_kernel()"],
            cwd=os.path.dirname(os.path.abspath(__file__)),
            env=os.environ,
            check=False,
            capture_output=True,
            text=True,
        )
        bare_s = time.perf_counter() - began_s
        if bare.returncode:
            raise Failed(f"bare Python failed: {bare.stderr[-300:]}", {})
        began_s = time.perf_counter()
        inside = first_kernel.remote()
        call_s = time.perf_counter() - began_s
        rounds.append(
            {
                "bare_s": round(bare_s, 3),
                "call_s": round(call_s, 3),
                **inside,
                "start": start_of("first_kernel"),
            }
        )
        Client.here().request("container.stop", {"container": row_of("first_kernel")["id"]})
        wait_until(lambda: not rows_of("first_kernel"), 30, "its container does not end")
    middle = sorted(rounds, key=lambda one: one["call_s"])[1]
    figures = {
        "bare_s": sorted(one["bare_s"] for one in rounds)[1],
        "call_s": middle["call_s"],
        "rounds": rounds,
    }
    if not all(one["right"] for one in rounds):
        raise Failed("a kernel gave a wrong sum", figures)
    return figures


def transformer() -> Figures:
    """A small transformer answers, twice the same, and as on the processor."""
    prompt = list(b"Squall starts containers")
    began_s = time.perf_counter()
    one, other = answer.remote(prompt, 32), answer.remote(prompt, 32)
    figures = {**one, "both_s": round(time.perf_counter() - began_s, 3)}
    if one["tokens"] != other["tokens"] or one["worst_difference"] > 1e-2:
        raise Failed("it does not answer the same", figures)
    return figures


CHECKS: dict[str, Callable[[], Figures]] = {
    check.__name__: check for check in (request, refused, queue, product, transformer, killed, cold)
}


def is_fake() -> bool:
    return RECORDING_VARIABLE in os.environ


def status() -> Figures:
    found: Figures = Client.here().request("status")
    return found


def rows_of(function: str) -> list[Figures]:
    return [row for row in status()["containers"] if row["function"] == function]


def row_of(function: str) -> Figures:
    return rows_of(function)[0]


def start_of(function: str) -> Figures:
    """Which rung its container's start took, and how long each phase of it lasted."""
    return {name: row_of(function)[name] for name in ("rung", "phases_ms", "gpu_ids")}


def wait_until(holds: Callable[[], bool], within_s: float, why: str) -> None:
    until_s = time.monotonic() + within_s
    while not holds():
        if time.monotonic() > until_s:
            raise Failed(f"{why} within {within_s:g} s", {})
        time.sleep(0.05)


def where(wrong: BaseException) -> str:
    """Where something was raised that nobody expected: the last lines of its way, innermost last."""
    frames = traceback.extract_tb(wrong.__traceback__)[-4:]
    return " > ".join(f"{os.path.basename(frame.filename)}:{frame.lineno} {frame.name}" for frame in frames)


def main(name: str) -> None:
    """Runs one check, and prints what came of it."""
    began_s = time.perf_counter()
    told: Figures = {"check": name, "ok": False, "why": "", "figures": {}}
    try:
        with app.run():
            told["figures"] = CHECKS[name]()
        told["ok"] = True
    except Failed as failed:
        told |= {"why": str(failed), "figures": failed.figures}
    except (Error, Exception) as wrong:  # noqa: BLE001 - whatever goes wrong is the check's own figure
        told["why"] = f"{type(wrong).__name__}: {wrong} ({where(wrong)})"
    told["took_s"] = round(time.perf_counter() - began_s, 3)
    print("RESULT " + json.dumps(told), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
