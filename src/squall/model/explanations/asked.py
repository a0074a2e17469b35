"""Why what was asked is refused: codes SQ-1000 to SQ-1099."""

from __future__ import annotations

from typing import Final

from squall.model.explanations.explanation import Explanation

ASKED: Final = {
    "SQ-1000": Explanation(
        """Every error of Squall is one of this class, so `except squall.Error` catches them all. An error that carries this
very code came from a server that knows errors which this client does not: its text is the server's own.""",
        """try:
    f.remote(3)
except squall.Error as error:
    print(error.code, error.remedy)""",
    ),
    "SQ-1001": Explanation(
        """Something happened in Squall that should never happen. Your code and your files are not the cause, and
nothing of yours is lost beyond the call that failed.""",
        """$ squall logs > report.txt
$ squall doctor >> report.txt""",
    ),
    "SQ-1002": Explanation(
        """The request was understood and allowed, but carrying it out failed half-way. What was begun has been taken
back, so asking again is safe.""",
        """$ squall logs
$ squall run hello.py""",
    ),
    "SQ-1003": Explanation(
        """Some features need what this machine does not have (namespaces, cgroups, a GPU), or come with a later version.
A feature that is missing is always refused by name; it is never silently left out.""",
        """$ squall doctor
feature      rung
overlay      no: the kernel refuses mounts for this user""",
    ),
    "SQ-1010": Explanation(
        """A value is of the wrong kind, out of its bounds, or contradicts another one. The message names the value and what
would be right.""",
        """@app.function(min_containers=5, max_containers=2)  # 5 is more than 2
def f(x): ...""",
    ),
    "SQ-1011": Explanation(
        """A name was looked up and there is nothing under it: it was never made, was removed, or is spelt differently.""",
        """$ squall app list
$ squall app stop my-app""",
    ),
    "SQ-1012": Explanation(
        """Names are unique among their kind, and somebody has taken this one.""",
        """@app.function(name="predict")
def a(): ...

@app.function(name="predict")  # taken
def b(): ...""",
    ),
    "SQ-1013": Explanation(
        """Two changes met, and this one was based on what is no longer so. Nothing was overwritten.""",
        """$ squall status   # see what it is now
$ squall run hello.py""",
    ),
    "SQ-1014": Explanation(
        """The server answers only those it can tell apart: over the local socket the user who started it.""",
        """$ ls -l ~/.local/state/squall/run/server.sock   # whose is it?""",
    ),
    "SQ-1015": Explanation(
        """The server knows who asks, and that user does not own what was asked for.""",
        """$ squall container stop CONTAINER   # of another user's app: refused""",
    ),
    "SQ-1016": Explanation(
        """`FILE::NAME` names a function by the name it has in its app: `name=` of the decorator, or the function's own name. A
function without a decorator is not one of the app's.""",
        """$ squall run jobs.py::trian
SQ-1016: jobs.py has no function trian; it has: train, evaluate
$ squall run jobs.py::train""",
    ),
    "SQ-1017": Explanation(
        """`squall run FILE` runs the file's only local entrypoint or, where there is none, its only function. With none or with
several of them it cannot know which one is meant.""",
        """@app.local_entrypoint()
def main(n: int = 3):
    print(f.remote(n))""",
    ),
    "SQ-1018": Explanation(
        """Functions belong to an app, and the file that is run has to have one at its top level: inside a function, or behind
`if __name__ == "__main__"`, it is not there when the file is imported.""",
        """import squall

app = squall.App("hello")""",
    ),
    "SQ-1019": Explanation(
        """The path is relative to the directory where the command is typed. A module (`-m`) is looked for there first and
then on `sys.path`.""",
        """$ squall run src/hello.py
$ squall run -m package.hello""",
    ),
    "SQ-1020": Explanation(
        """The flags of `squall run FILE` are the parameters of the function: `n: int` becomes `--n`, one without a
default must be given, and a value has to read as the parameter's type.""",
        """$ squall run hello.py --n three
SQ-1020: --n takes an int, not 'three'
$ squall run hello.py --n 3""",
    ),
    "SQ-1021": Explanation(
        """Squall imports your file to see what it declares, on your machine before a run and in the container again. An exception at
the top level, a syntax error or a missing package ends that. Packages that exist only in the image go into
`with image.imports():`, or into the function.""",
        """@app.function(image=squall.Image.host().pip_install("torch"))
def f():
    import torch  # only the container has it""",
    ),
    "SQ-1022": Explanation(
        """The parameters of a class are what its objects differ in, and each set of values has containers of its own. So they are
checked before anything is sent: the name, the type (`str`, `int`, `float`, `bool` or `bytes`), and that all are there.""",
        """@app.cls()
class Model:
    size: str = squall.parameter()

Model(size=3)  # size is str""",
    ),
}
