"""Hello: one function in a container of its own, called once and over a list."""

import os
import platform

import squall

app = squall.App("hello")


@app.function(cpu=1, memory=256, max_containers=2)
def square(number: int) -> int:
    print(f"{number} x {number}, in process {os.getpid()} on {platform.node()}")
    return number * number


@app.local_entrypoint()
def main(number: int = 7) -> None:
    print(f"Hello from process {os.getpid()} on {platform.node()}")
    print("one call:", square.remote(number))
    print("a map:", list(square.map(range(5))))
