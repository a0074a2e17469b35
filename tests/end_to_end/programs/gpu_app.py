"""Functions that ask for GPUs, and one that does not."""

import os
import sys
import time

import squall
from squall.model.errors import NoNodeFits

app = squall.App("gpus")


def seen() -> list[str]:
    return sorted(name for name in os.listdir("/dev") if "nvidia" in name)


@app.function(gpu="h100", scaledown_window=2)
def first(seconds: float) -> list[str]:
    print("computing", flush=True)
    time.sleep(seconds)
    return [*seen(), os.environ["NVIDIA_VISIBLE_DEVICES"], os.environ["CUDA_VISIBLE_DEVICES"]]


@app.function(gpu=["B200:8", "any"], scaledown_window=2)
def second() -> list[str]:
    return seen()


@app.function()
def without() -> list[str]:
    return [*seen(), str("CUDA_VISIBLE_DEVICES" in os.environ)]


@app.function(gpu=["A100", "H100:2"])
def never() -> None:
    """No such machine is here."""


if __name__ == "__main__":
    with app.run():
        match sys.argv[1:]:
            case ["first", seconds]:
                print("GOT", first.remote(float(seconds)), flush=True)
            case ["both", seconds]:
                waiting = first.spawn(float(seconds))
                time.sleep(0.5)
                print("SECOND", second.remote(), flush=True)
                print("FIRST", waiting.get(), flush=True)
            case ["second"]:
                print("SECOND", second.remote(), flush=True)
            case ["without"]:
                print("GOT", without.remote(), flush=True)
            case ["never"]:
                began = time.monotonic()
                try:
                    never.remote()
                except NoNodeFits as refused:
                    print("REFUSED", refused, time.monotonic() - began < 5, flush=True)
