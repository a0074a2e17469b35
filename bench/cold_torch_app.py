"""Cold torch app: the same with torch, which only the image has, imported where user code imports."""

import importlib
import time

import squall

EDITS = 0
app = squall.App("bench-cold-torch")
image = squall.Image.host().pip_install("torch==2.13.0", "numpy")

with image.imports():
    torch = importlib.import_module("torch")


@app.function(image=image, cpu=0.01, memory=(256, 2048), scaledown_window=2)
def first_line() -> tuple[float, int]:
    """When this line ran, and which edit it is of; four ones, summed, say that torch is there."""
    at = time.monotonic()
    if int(torch.ones(4).sum()) != 4:
        raise RuntimeError("torch does not add up")
    return at, EDITS
