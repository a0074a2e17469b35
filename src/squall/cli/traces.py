"""Traces: a traceback of the user's own lines, with none of ours."""

import os
import sys
import sysconfig
import traceback
from types import TracebackType

import squall
from squall.cli.screen import say_error
from squall.model.errors import Error, RemoteError, UserCodeException
from squall.model.raised import MARKER_FILE

_OURS = os.path.dirname(os.path.abspath(squall.__file__)) + os.sep
_STDLIB = ("<frozen ", sysconfig.get_path("stdlib") + os.sep)


def say_traceback(error: BaseException, *, in_file: bool = False) -> bool:
    """Prints an exception of user code as Python would, our frames left out. False for an error of ours to show.

    in_file: it came out of importing the user's file, so that it is theirs even if no line of theirs is in it.
    """
    theirs = user_frames(error.__traceback__)
    if isinstance(error, Error) and not isinstance(error, (RemoteError, UserCodeException)):
        _say_where(error, theirs)
        return say_error(error)
    if theirs is None and not in_file:
        return False
    if isinstance(error, SystemExit):
        print(error.code, file=sys.stderr)
        return True
    traceback.print_exception(type(error), error.with_traceback(theirs), theirs, file=sys.stderr)
    return True


def _say_where(error: Error, theirs: TracebackType | None) -> None:
    """The lines of theirs that met an error of ours, and what caused it; what it says comes behind, in words."""
    told = traceback.TracebackException(type(error), error, theirs)
    # Dataclasses check themselves in code that Python has written: "<string>".
    told.stack[:] = [
        frame for frame in told.stack if not frame.filename.startswith((MARKER_FILE, _OURS, "<string>"))
    ]
    cause = error.__cause__.__traceback__ if error.__cause__ is not None else None
    chain = cause is not None and not cause.tb_frame.f_code.co_filename.startswith(_OURS)
    if told.stack or chain:
        last_words = sum(1 for _ in told.format_exception_only())
        sys.stderr.write("".join(list(told.format(chain=chain))[:-last_words]))


def user_frames(trace: TracebackType | None) -> TracebackType | None:
    """The traceback from the first frame of user code on, or None where there is none."""
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if (
            file != MARKER_FILE
            and not file.startswith((_OURS, *_STDLIB))
            and "/site-packages/click/" not in file
        ):
            return trace
        trace = trace.tb_next
    return None
