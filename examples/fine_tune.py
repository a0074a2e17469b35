"""Fine-tune: a small transformer that learns to write like a manual, and goes on from its checkpoint when it is killed.

    squall run examples/fine_tune.py                     # 120 steps, killed on the way and resumed
    squall run examples/fine_tune.py --name mine --steps 2000 --killed-at 0
    squall run examples/fine_tune.py --name mine --steps 4000 --killed-at 0    # goes on from step 2,000

Every 40 steps the container saves weights, optimiser and random state into a Volume, and commits. A container that dies
loses what came after: its input is tried again in a new one, which finds the last checkpoint and ends with the very
numbers of a run that nobody killed. Here the container kills itself, with the signal that the kernel would use.

The model reads characters: a quarter of a million parameters, and one core is enough to see it learn letters first, then
words. The text is the reference manual that comes with Python.
"""

import math
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import squall

WIDTH, HEADS, LAYERS, CONTEXT, BATCH = 96, 4, 2, 64, 16
LEARNING_RATE, SAVE_EVERY = 2e-3, 40
FOLDER = Path("/checkpoints")  # where the container sees the volume

# On Linux the index's own torch may bring CUDA along, gigabytes of it; `index_url` names one that has it without.
image = squall.Image.host().pip_install("torch==2.13.0", "numpy").env({"OMP_NUM_THREADS": "1"})
volume = squall.Volume.from_name("fine-tune", create_if_missing=True)
app = squall.App("fine-tune", image=image)


@dataclass(frozen=True)
class Trained:
    """How a training ended. resumed_at: the step of the checkpoint that it went on from, 0 where there was none."""

    steps: int
    resumed_at: int
    loss: float
    sample: str


@app.function(cpu=1, memory=1024, volumes={"/checkpoints": volume}, timeout=3600)
def train(name: str, steps: int, killed_at: int) -> Trained:
    """Trains until `steps` are done, from the checkpoint of this name if there is one; saves as it goes.

    killed_at: the step before which a container that began at the beginning dies, 0 for none.
    """
    import torch

    saved = FOLDER / f"{name}.pt"
    text = manual()
    alphabet = sorted(set(text))
    data = torch.tensor([alphabet.index(character) for character in text])
    torch.manual_seed(7)
    model = transformer(len(alphabet))
    optimiser = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE)

    resumed_at = 0
    if saved.exists():
        state = torch.load(saved)
        model.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
        torch.set_rng_state(state["random"])
        resumed_at = state["step"]
        print(f"goes on from step {resumed_at}")

    loss = torch.tensor(math.nan)
    for step in range(resumed_at + 1, steps + 1):
        if step == killed_at and not resumed_at:
            print(f"dies before step {step}")
            os.kill(os.getpid(), signal.SIGKILL)
        starts = torch.randint(len(data) - CONTEXT, (BATCH, 1))
        read = data[starts + torch.arange(CONTEXT + 1)]
        loss = torch.nn.functional.cross_entropy(model(read[:, :-1]).flatten(0, 1), read[:, 1:].flatten())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if step % SAVE_EVERY == 0 or step == steps:
            print(f"step {step}: loss {loss.item():.3f}")
            state = {"model": model.state_dict(), "optimiser": optimiser.state_dict(), "step": step}
            torch.save({**state, "random": torch.get_rng_state()}, saved)
            volume.commit()
    return Trained(steps=steps, resumed_at=resumed_at, loss=loss.item(), sample=write(model, alphabet))


def manual() -> str:
    """Some of Python's reference manual, in plain characters."""
    from pydoc_data.topics import topics

    text = " ".join(" ".join(topics[topic].split()) for topic in sorted(topics)[:40])
    return "".join(character for character in text if character.isascii())


def transformer(characters: int) -> Any:
    """A decoder: from the characters so far to how likely each one is to be next."""
    import torch
    from torch import nn

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.meaning = nn.Embedding(characters, WIDTH)
            self.place = nn.Embedding(CONTEXT, WIDTH)
            layer = nn.TransformerEncoderLayer(
                WIDTH, HEADS, 4 * WIDTH, dropout=0.0, batch_first=True, norm_first=True
            )
            self.layers = nn.TransformerEncoder(layer, LAYERS, enable_nested_tensor=False)
            self.next = nn.Linear(WIDTH, characters)

        def forward(self, read: Any) -> Any:
            length = read.shape[1]
            unseen = torch.triu(torch.ones(length, length, dtype=torch.bool), diagonal=1)
            seen = self.meaning(read) + self.place(torch.arange(length))
            return self.next(self.layers(seen, mask=unseen))

    return Model()


def write(model: Any, alphabet: list[str], length: int = 80) -> str:
    """What the model writes by itself after "The "."""
    import torch

    model.eval()
    ids = [alphabet.index(character) for character in "The "]
    with torch.inference_mode():
        for _ in range(length):
            likely = model(torch.tensor([ids[-CONTEXT:]]))[0, -1].softmax(-1)
            ids.append(int(torch.multinomial(likely, 1)))
    return "".join(alphabet[number] for number in ids)


@app.local_entrypoint()
def main(name: str = "", steps: int = 120, killed_at: int = 100) -> None:
    name = name or f"run-{time.strftime('%Y%m%d-%H%M%S')}"
    trained = train.remote(name, steps, killed_at)
    if trained.resumed_at:
        print(f"went on from the checkpoint of step {trained.resumed_at}")
    print(f"{trained.steps} steps, loss {trained.loss:.6f}, in the volume fine-tune as {name}.pt")
    print(f"it writes: {trained.sample!r}")
