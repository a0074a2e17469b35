"""Errors of how a call ended: timed out, cancelled, lost, or raised by the user's code."""

# ruff: noqa: N818 - the names are those that users of this field know, most of them without a suffix

from __future__ import annotations

import builtins

from squall.model.errors.root import Error


class TimeoutError(Error, builtins.TimeoutError):  # noqa: A001 - the field's name for it; catchable as the builtin
    """It took longer than it may."""

    code, status = "SQ-1300", 504
    remedy = "allow more time with `timeout=`, or give it less to do"
    limit_s: float | None = None


class FunctionTimeout(TimeoutError):
    """The function ran longer than its `timeout`."""

    code, status = "SQ-1301", 504
    remedy = "raise it: `@app.function(timeout=SECONDS)`, up to 86400"


class StartupTimeout(TimeoutError):
    """The container was not ready within its `startup_timeout`."""

    code, status = "SQ-1302", 504
    remedy = (
        "raise `startup_timeout=`, or move slow work out of module level; `squall logs` shows how far it came"
    )


class SandboxTimeout(TimeoutError):
    """The sandbox reached the end of its `timeout`."""

    code, status = "SQ-1303", 504
    remedy = "raise it: `Sandbox.create(timeout=SECONDS)`"


class ExecTimeout(TimeoutError):
    """The command in the sandbox ran longer than its `timeout`."""

    code, status = "SQ-1304", 504
    remedy = "raise it: `sandbox.exec(..., timeout=SECONDS)`"


class OutputExpired(TimeoutError):
    """The result is gone: it was kept for its time, and the time is over."""

    code, status = "SQ-1305", 410
    remedy = "fetch results earlier, or call the function again"


class InputCancelled(Error):
    """The input was cancelled before it ended."""

    code, status = "SQ-1306", 499
    remedy = "call again if it was not meant; `FunctionCall.cancel` and Ctrl-C cancel"


class RemoteError(Error):
    """The function raised an exception that cannot be rebuilt here; its text follows."""

    code, status = "SQ-1307", 500
    remedy = "to catch it by its own type, make that type importable on this side too"
    type_name: str | None = None
    remote_traceback: str | None = None


class UserCodeException(Error):
    """Your code raised an exception, returned here as a value."""

    code, status = "SQ-1308", 500
    remedy = "look at the exception it holds: `error.__cause__`"


class InputLost(Error):
    """The machinery under the input was lost again and again, so it was given up."""

    code, status = "SQ-1309", 503
    remedy = "look at `squall status` and `squall logs` for what ends the containers, and call again"
    attempts: int | None = None


class InputNotRunAgain(InputLost):
    """The input may have begun when it was lost, and its function does not run an input twice."""

    code, status = "SQ-1313", 503
    remedy = 'find out whether it took effect, then call again; `on_lost="rerun"` has Squall run it again by itself'


class TooManyInputs(Error):
    """The waiting line of the function is full."""

    code, status = "SQ-1310", 429
    remedy = "send fewer inputs at once, or let more containers run with `max_containers=`"
    limit: int | None = None
    retry_after_s: float | None = None


class ServerStopping(Error):
    """The server is stopping and takes no more calls."""

    code, status = "SQ-1311", 503
    remedy = "run the command again: the next one starts a server"


class AppStopped(Error):
    """The app that the call belongs to has been stopped."""

    code, status = "SQ-1312", 410
    remedy = "run or deploy the app again"
