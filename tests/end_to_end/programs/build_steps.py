"""Build steps: a recipe over an image of a registry, built as `squall image build` has it built. REFERENCE STEP..."""

import json
import sys

from squall.cli.asking import any_client, follow
from squall.cli.screen import say_error
from squall.model.errors import Error
from squall.model.image import ImageRecipe, RegistryImage
from squall.model.image_steps import Env, RunCommands
from squall.sdk.this_python import installer_settings, this_python
from squall.wire.codec import Frame


def show(frame: Frame) -> None:
    print(frame.head()["line"], flush=True)


reference, *commands = sys.argv[1:]
recipe = ImageRecipe(
    base="registry",
    image=RegistryImage(reference=reference),
    steps=(Env(variables={"TOLD": "by a step"}), *(RunCommands(commands=(one,)) for one in commands)),
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
