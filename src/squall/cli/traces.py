"""Traces: a traceback of the user's own lines, with none of ours."""

import os
import sys
import sysconfig
import traceback
from types import TracebackType

import squall
from squall.model.errors import Error

_OURS = os.path.dirname(os.path.abspath(squall.__file__)) + os.sep
_STDLIB = ("<frozen ", sysconfig.get_path("stdlib") + os.sep)


def say_traceback(error: BaseException, *, in_file: bool = False) -> bool:
    """Prints an exception of user code as Python would, our frames left out. False for an error of ours to show.

    in_file: it came out of importing the user's file, so that it is theirs even if no line of theirs is in it.
    """
    theirs = user_frames(error.__traceback__)
    if isinstance(error, Error) and not error.__notes__[1:] and theirs is None:
        return False
    if theirs is None and not in_file:
        return False
    if isinstance(error, SystemExit):
        print(error.code, file=sys.stderr)
        return True
    traceback.print_exception(type(error), error.with_traceback(theirs), theirs, file=sys.stderr)
    return True


def user_frames(trace: TracebackType | None) -> TracebackType | None:
    """The traceback from the first frame of user code on, or None where there is none."""
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if not file.startswith((_OURS, *_STDLIB)) and "/site-packages/click/" not in file:
            return trace
        trace = trace.tb_next
    return None
