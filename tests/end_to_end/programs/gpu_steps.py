"""GPU steps: commands over an image of a registry, each with devices, built as `squall image build` has it. REFERENCE GPU COMMAND..."""

import json
import sys

from squall.cli.asking import any_client, follow
from squall.cli.screen import say_error
from squall.model.errors import Error
from squall.model.gpu import parse_gpus
from squall.model.image import ImageRecipe, RegistryImage
from squall.model.image_steps import RunCommands
from squall.sdk.this_python import installer_settings, this_python
from squall.wire.codec import Frame


def show(frame: Frame) -> None:
    print(frame.head()["line"], flush=True)


reference, gpu, *commands = sys.argv[1:]
recipe = ImageRecipe(
    base="registry",
    image=RegistryImage(reference=reference),
    steps=tuple(RunCommands(commands=(one,), gpu=parse_gpus(gpu.split(","))) for one in commands),
)
wants = {
    "image": recipe.to_json(),
    "client_python": this_python().to_json(),
    "installer": installer_settings().to_json(),
}
try:
    follow(any_client(), "image.build", {}, show, json.dumps(wants).encode())
except Error as problem:
    say_error(problem)
    sys.exit(1)
