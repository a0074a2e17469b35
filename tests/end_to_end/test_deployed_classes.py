"""Classes of deployed apps, called from programs without their code, with parameters, other options and other bounds."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.end_to_end.terminal import Terminal, fresh_folder, leave_nothing, wait_until

pytestmark = [pytest.mark.needs("linux", "namespaces"), pytest.mark.timeout(240)]

APP = """
import os
import threading
import time

import squall

app = squall.App("models")


@app.cls(scaledown_window=300)
class Model:
    language: str = squall.parameter(default="en")

    @squall.enter()
    def load(self):
        self.barrier = threading.Barrier(4)

    @squall.method()
    def greet(self, name: str) -> str:
        return f"{self.language} {name} {os.environ.get('WHO')}"

    @squall.method()
    def spell(self, name: str):
        yield from name

    @squall.method()
    def together(self, number: int) -> int:
        self.barrier.wait(20)
        return number

    @squall.method()
    def slow(self, seconds: float) -> str:
        time.sleep(seconds)
        return self.language


@app.cls()
class Sized:
    size: int = squall.parameter()

    @squall.method()
    @squall.batched(max_batch_size=2, wait_ms=200)
    def double(self, numbers: list[int]) -> list[tuple[int, int]]:
        return [(len(numbers), number * self.size) for number in numbers]


@app.function()
def inside():
    found = squall.Cls.from_name("models", "Model")
    varied = Model.with_options(env={"WHO": "inside"})
    return found(language="fr").greet.remote("a"), varied(language="it").greet.remote("b")


@app.function()
def sees():
    waiting = squall.Cls.from_name("models", "Model")().greet.get_current_stats()
    return waiting.backlog, Model().greet.info().name, inside.stats().running


@app.local_entrypoint()
def main():
    other = Model.with_options(env={"WHO": "other"})
    print(Model().greet.remote("a"), other().greet.remote("b"), other(language="de").greet.remote("c"))
    further = other.with_options(env={"WHO": "further"}).with_concurrency(max_inputs=4)
    print(further(language="nl").greet.remote("d"), sorted(further().together.map(range(4))))
    print(list(Sized.with_batching(max_batch_size=5, wait_ms=300)(size=3).double.map(range(5))))
    print(isinstance(other(), Model), other().greet.local("here"), squall.Cls.of(Model) is Model.with_options.__self__)
    for wrong in (
        lambda: Model.with_options(timeout=0.2),
        lambda: Model.with_batching(max_batch_size=4, wait_ms=10),
        lambda: Sized.with_concurrency(max_inputs=4),
        lambda: Model.with_concurrency(max_inputs=0),
        lambda: Model().with_options(cpu=1),
    ):
        try:
            wrong()
        except Exception as error:
            print(error)


if __name__ == "__main__":
    app.deploy()
    print(Model(language="es").greet.remote("program"), Model().greet.remote("itself"))
"""
SAYS = """

@app.function()
def says():
    import sys

    print("one", flush=True)
    print("two", file=sys.stderr, flush=True)
"""
SAID = """\
en a None en b other de c other
nl d further [0, 1, 2, 3]
[(5, 0), (5, 3), (5, 6), (5, 9), (5, 12)]
True en here None True
with_options of 'Model': timeout is between 1 and 86400 seconds, not 0.2
with_batching of 'Model': its code takes one input, and a batch is a list of them
with_concurrency of 'Sized': @squall.batched and @squall.concurrent do not go together
with_concurrency of 'Model': max_inputs is between 1 and 1000, not 0
an object of Model has no 'with_options': its class has
"""
FOUND = """
import squall

Model = squall.Cls.from_name("models", "Model")
print(Model().greet.remote("a"), Model(language="de").greet.remote("b"), list(Model("it").greet.map("cd")))
print(list(Model(language="de").spell.remote_gen("abc")), Model().greet.spawn("e").get(timeout=30))
other = Model.with_options(env={"WHO": "other"})
print(other().greet.remote("f"), other(language="nl").greet.remote("g"))
print(sorted(Model.with_concurrency(max_inputs=4)().together.map(range(4))))
sized = squall.Cls.from_name("models", "Sized").with_batching(max_batch_size=4, wait_ms=400)
print(list(sized(size=2).double.map(range(4))))
print(squall.Function.from_name("models", "inside").remote())
for wrong in (
    lambda: sized().double.remote(1),
    lambda: Model(size=1).greet.remote(1),
    lambda: Model(language=2).greet.remote(1),
    lambda: Model().nothing.remote(1),
    lambda: squall.Cls.from_name("models", "inside")().x.remote(),
    lambda: squall.Function.from_name("models", "Model").remote(),
    lambda: squall.Function.from_name("models", "Model.greet").remote("a"),
    lambda: Model.with_batching(max_batch_size=4, wait_ms=400)().greet.remote(1),
    lambda: Model().greet.local("a"),
):
    try:
        print("no error", wrong())
    except squall.model.errors.Error as error:
        print(type(error).__name__, error)
"""
FOUND_SAID = """\
en a None de b None ['it c None', 'it d None']
['a', 'b', 'c'] en e None
en f other nl g other
[0, 1, 2, 3]
[(4, 0), (4, 2), (4, 4), (4, 6)]
('fr a None', 'it b inside')
ParameterInvalid Sized needs the parameter 'size': int
ParameterInvalid Model has no parameter 'size'; it has: language
ParameterInvalid the parameter 'language' of Model is str, not int
FunctionNotFound Model has no method 'nothing' that is called remotely; it has: greet, spell, together, slow
FunctionNotFound 'inside' of the app models is a function, and no class
FunctionNotFound 'Model' of the app models is a class, and its methods are called
FunctionNotFound the app models has no function 'Model.greet' in version 1; it has: Model, Sized, inside, sees
InvalidError with_batching of 'Model': its code takes one input, and a batch is a list of them
ExecutionError 'Model.greet' was looked up in the app models, and itself is not here
"""


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    terminal = Terminal(folder=fresh_folder())
    yield terminal
    leave_nothing(terminal)


def deploy(terminal: Terminal, more: str = "") -> None:
    said = terminal.squall("deploy", str(terminal.write(APP + more, "models.py")), within_s=60)
    assert said.status == 0, said


def python(terminal: Terminal, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments],
        env=terminal.environment(),
        cwd=terminal.folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def ask(terminal: Terminal, expression: str) -> str:
    return python(
        terminal,
        "-c",
        f"import squall\nModel = squall.Cls.from_name('models', 'Model')\nprint({expression})",
    ).strip()


def test_a_class_with_other_options_has_containers_of_its_own(terminal: Terminal) -> None:
    said = terminal.run(APP, within_s=90)
    assert (said.status, said.out) == (0, SAID), said


def test_a_class_of_a_deployed_app_is_called_from_a_program_without_its_code(terminal: Terminal) -> None:
    deploy(terminal)
    assert python(terminal, "-c", FOUND) == FOUND_SAID


def test_a_program_that_deploys_its_classes_calls_them_with_their_parameters(terminal: Terminal) -> None:
    said = python(terminal, str(terminal.write(APP, "models.py")))
    assert said == "es program None en itself None\n"


def test_calls_of_a_class_with_parameters_and_options_outlive_the_server(terminal: Terminal) -> None:
    deploy(terminal)
    other = "Model.with_options(env={'WHO': 'other'})(language='sv')"
    calls = [
        ask(terminal, f"{made}.slow.spawn(3).object_id")
        for made in ("Model(language='da')", other, "Model()")
    ]
    os.kill(json.loads(terminal.squall("status", "--json").out)["server"]["pid"], signal.SIGKILL)
    found = [ask(terminal, f"squall.FunctionCall.from_id({call!r}).get(timeout=50)") for call in calls]
    assert found == ["da", "sv", "en"]


def test_bounds_of_a_class_and_of_one_of_its_objects_are_changed_and_stay_after_a_restart(
    terminal: Terminal,
) -> None:
    deploy(terminal)
    ask(terminal, "Model(language='de').update_autoscaler(min_containers=2)")
    wait_until(lambda: containers(terminal, "Model@") == 2, within_s=30)
    ask(terminal, "Model.update_autoscaler(max_containers=3, buffer_containers=0)")
    ask(terminal, "Model(language='de').greet.update_autoscaler(scaledown_window=7)")
    assert scaling(terminal, "Model") == {"min_containers": 0, "max_containers": 3, "scaledown_window_s": 300}
    assert scaling(terminal, "Model@") == {"min_containers": 2, "max_containers": 3, "scaledown_window_s": 7}
    os.kill(json.loads(terminal.squall("status", "--json").out)["server"]["pid"], signal.SIGKILL)
    assert scaling(terminal, "Model") == {"min_containers": 0, "max_containers": 3, "scaledown_window_s": 300}
    assert scaling(terminal, "Model@") == {"min_containers": 2, "max_containers": 3, "scaledown_window_s": 7}
    deploy(terminal)
    assert scaling(terminal, "Model")["max_containers"] is None


RESTARTED = """
import json, os, signal, subprocess, sys

from models import Model, app

if __name__ == "__main__":
    with app.run():
        other = Model.with_options(env={"WHO": "other"})
        calls = [made.slow.spawn(3) for made in (other(language="sv"), other(), Model(language="da"))]
        said = subprocess.run([sys.executable, "-m", "squall", "status", "--json"], capture_output=True, check=True)
        os.kill(json.loads(said.stdout)["server"]["pid"], signal.SIGKILL)
        print([call.get(timeout=60) for call in calls])
"""
LOOKS = """
import asyncio

import squall

Model = squall.Cls.from_name("models", "Model")
other = Model.with_options(timeout=77)
print(other.info().options["timeout"], other(language="fi").greet.info().name)
# Asking makes nothing.
print(Model.info().variants, Model.info().methods["spell"], Model.info().parameters)
print(Model(language="de").slow.remote(0), Model.info().variants == (Model(language="de").slow.info().name,))
print(squall.Function.from_name("models", "sees").remote())


async def look():
    print((await Model(language="de").slow.stats.aio()).calls)
    print((await squall.Function.from_name("models", "sees").get_current_stats.aio()).num_running_inputs)
    async for line in squall.Function.from_name("models", "says").logs.aio(follow=True):
        print(line.text, line.stream, line.function)
        if line.text == "two":
            break


squall.Function.from_name("models", "says").remote()
asyncio.run(look())
print([line.text for line in squall.Function.from_name("models", "says").logs(lines=1)])
for wrong in (lambda: Model(size=1).greet.info(), lambda: squall.Function.from_name("models", "none").stats()):
    try:
        wrong()
    except squall.model.errors.Error as error:
        print(type(error).__name__, error.code)
"""
LOOKED = """\
77.0 Model~KEY@KEY
() True {'language': 'str'}
de True
(0, 'Model', 0)
0
0
one stdout says
two stderr says
['two']
ParameterInvalid SQ-1022
FunctionNotFound SQ-1016
"""


def test_calls_with_options_of_an_app_that_runs_outlive_the_server_too(terminal: Terminal) -> None:
    folder = terminal.write(APP, "models.py").parent
    program = folder / "restarted.py"
    program.write_text(RESTARTED)
    assert python(terminal, str(program)) == "['sv', 'en', 'da']\n"


def test_what_is_told_of_functions_and_classes(terminal: Terminal) -> None:
    deploy(terminal, more=SAYS)
    told = re.sub(r"(?<=[~@])[0-9a-f]{8,12}", "KEY", python(terminal, "-c", LOOKS))
    assert told == LOOKED


def containers(terminal: Terminal, begins: str) -> int:
    rows = json.loads(terminal.squall("function", "list", "models", "--json").out)
    return sum(row["containers"] for row in rows if row["function"].startswith(begins))


def scaling(terminal: Terminal, begins: str) -> dict[str, float]:
    """The bounds of the function whose name begins so, and has no more than a key behind it."""
    (app,) = [
        row for row in json.loads(terminal.squall("app", "list", "--json").out) if row["state"] == "serving"
    ]
    (found,) = [
        bounds
        for name, bounds in app["scaling"].items()
        if name == begins or (begins.endswith("@") and name.startswith(begins))
    ]
    return {name: bound for name, bound in found.items() if name != "buffer_containers"}
