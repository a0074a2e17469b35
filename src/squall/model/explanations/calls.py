"""Why a call did not end well: codes SQ-1300 to SQ-1399."""

from __future__ import annotations

from typing import Final

from squall.model.explanations.explanation import Explanation

CALLS: Final = {
    "SQ-1300": Explanation(
        """Something took longer than its limit. This class is also a builtin `TimeoutError`; the ones below it say what it was that
took too long.""",
        """try:
    call.get(timeout=5)
except TimeoutError:
    ...  # it goes on; ask again later""",
    ),
    "SQ-1301": Explanation(
        """An attempt may run for `timeout` seconds (300 unless you say otherwise), counted from the moment the function is
called in the container. Waiting in line and starting the container do not count. The container was stopped.""",
        """@app.function(timeout=3600)
def train(): ...""",
    ),
    "SQ-1302": Explanation(
        """From its start to the moment it can take inputs - imports, and the hooks that run once - a container has
`startup_timeout` seconds; unless you give it, that is `timeout`. The message says how it was started, how long each part took, and in
which part it was when it was given up.""",
        """@app.function(startup_timeout=600)
def f(): ...""",
    ),
    "SQ-1303": Explanation(
        """A sandbox lives for `timeout` seconds (300 unless you say otherwise) and is then stopped, whatever runs in it.""",
        """sandbox = squall.Sandbox.create(app=app, timeout=7200)""",
    ),
    "SQ-1304": Explanation(
        """The command was given `timeout` seconds and did not end; it was killed. The sandbox goes on.""",
        """sandbox.exec("make", timeout=600).wait()""",
    ),
    "SQ-1305": Explanation(
        """Outcomes are kept for seven days. This one ended longer ago and has been removed.""",
        """call = squall.FunctionCall.from_id("fc-...")
call.get()  # within seven days""",
    ),
    "SQ-1306": Explanation(
        """Somebody cancelled it: Ctrl-C in the terminal of the run, `FunctionCall.cancel`, or the end of the app that it
belonged to.""",
        """call = f.spawn(3)
call.cancel()
call.get()  # raises this""",
    ),
    "SQ-1307": Explanation(
        """An exception is raised again here in its own class if that class can be imported here. This one's cannot: its
package is installed in the image only, it was made inside a function, or it would end this process (SystemExit). The message,
the traceback with the remote source lines and the attributes are all there.""",
        """try:
    f.remote(3)
except squall.model.errors.RemoteError as error:
    print(error.type_name, error.remote_traceback)""",
    ),
    "SQ-1308": Explanation(
        """Where exceptions are asked for as values, one that was raised by your code is wrapped in this class, so that it can be
told from a value that happens to be an exception.""",
        """for value in f.map(range(10), return_exceptions=True):
    if isinstance(value, Exception): ...""",
    ),
    "SQ-1309": Explanation(
        """When a container is lost through no fault of your code - killed from outside, its machine gone - the input is run
again, silently, up to eight times. It was lost each time, so something ends these containers.""",
        """$ squall logs --container CONTAINER
$ dmesg | tail   # the kernel's own reasons, such as a machine out of memory""",
    ),
    "SQ-1313": Explanation(
        """The function was declared with `on_lost="fail"`: no input of it begins a second time. This one was in a container
that was lost, or its call was open when the server or the connection to it was lost, and nobody could say whether the input had
begun. Inputs that certainly had not begun run elsewhere instead.""",
        """@app.function(on_lost="fail")
def charge(order): ...""",
    ),
    "SQ-1310": Explanation(
        """A function's waiting line has an end, so that a caller who never stops cannot fill the server's memory. `map` waits
by itself; `spawn` is refused at once.""",
        """for batch in batches:
    list(f.map(batch))  # waits for room""",
    ),
    "SQ-1311": Explanation(
        """The server was told to stop (`squall down`, or the machine shuts down). It lets running inputs end and takes no new
ones.""",
        """$ squall up
$ squall run hello.py""",
    ),
    "SQ-1312": Explanation(
        """The app has ended: its run is over, or somebody stopped it. Its functions cannot be called until it runs again.""",
        """with app.run():
    f.remote(3)  # inside
f.remote(3)      # after it: raises this""",
    ),
}
