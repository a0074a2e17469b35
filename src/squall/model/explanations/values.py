"""Why a value or a file cannot travel: codes SQ-1200 to SQ-1299."""

from __future__ import annotations

from typing import Final

from squall.model.explanations.explanation import Explanation

VALUES: Final = {
    "SQ-1200": Explanation(
        """Arguments and results cross between processes as bytes, made by pickle. What is bound to one process - open files,
locks, sockets, running generators, database connections - has no bytes.""",
        """import pickle
pickle.dumps(value)  # what this refuses cannot travel""",
    ),
    "SQ-1201": Explanation(
        """The message names the argument, and where in it the part is that cannot be pickled. The call was not sent.""",
        """f.remote(open("data.csv"))        # refused
f.remote(open("data.csv").read())  # fine""",
    ),
    "SQ-1202": Explanation(
        """With `serialized=True`, in a notebook or in `__main__` of an interactive session the function itself travels as
bytes, together with the variables it closes over. One of those has no bytes.""",
        """lock = threading.Lock()

@app.function(serialized=True)
def f():
    with lock: ...  # closes over the lock: make it inside instead""",
    ),
    "SQ-1203": Explanation(
        """The function ended well, but what it returned has no bytes. The work was done: check for side effects before you
call it again.""",
        """@app.function()
def f():
    return (x * x for x in range(3))  # a generator; return a list, or use remote_gen""",
    ),
    "SQ-1204": Explanation(
        """The bytes arrived whole, but building the value needs a module or class that this side does not have, or has in a
version that differs.""",
        """@app.function(image=squall.Image.host().pip_install("numpy"))
def f():
    return numpy.ones(3).tolist()  # a list needs no numpy here""",
    ),
    "SQ-1205": Explanation(
        """A call may carry only so much, to keep the memory of server and container bounded. The message has the size and the
limit.""",
        """f.remote(path="/data/big.bin")  # the name of a file instead of its bytes""",
    ),
    "SQ-1206": Explanation(
        """The result is larger than a result may be. The work was done; only its value could not come back.""",
        """@app.function()
def parts():
    for part in compute():
        yield part  # for part in parts.remote_gen(): ...""",
    ),
    "SQ-1207": Explanation(
        """The byte code of one minor version of Python means nothing to another. Functions of a module travel by name and are not
affected; by value travel those of notebooks and of `serialized=True`.""",
        """$ python --version
Python 3.12.1
# the image has 3.11: use an image with 3.12, or move the function into a module""",
    ),
    "SQ-1208": Explanation(
        """Source ships as Python files. A built-in module, one that exists as compiled code only, or an editable install that builds
itself on import has none.""",
        """image.add_local_python_source("mypackage")  # a directory with .py files
image.pip_install("numpy")                  # a compiled package""",
    ),
    "SQ-1209": Explanation(
        """The directory of your file ships, but this module was not in it: an ignore file keeps it out, it lies outside of that
directory, or it is an installed package. The message says which, and names the import that wanted it.""",
        """# .squallignore beside the entry file takes back what .gitignore keeps out
!/generated_module.py""",
    ),
    "SQ-1210": Explanation(
        """The directory of your file ships with each run (only what changed is read again), up to 100 MiB. Data sets and
weights do not belong there. The message names what weighs most.""",
        """# .squallignore
data/
*.ckpt""",
    ),
    "SQ-1211": Explanation(
        """While the source was read, a file got other bytes than the list of files says: an editor saved it, or a program writes
it all the time.""",
        """# .squallignore
*.log
local.sqlite3""",
    ),
}
