"""Guard: a slip of ours with one container does not bring down the others."""

import sys
import traceback
from collections.abc import Callable
from contextlib import suppress


def guarded(do: Callable[[], object], *, then: Callable[[], object] = lambda: None) -> None:
    """Do `do`; where it raises, say so in the log and do `then`, so that it is not tried for ever."""
    try:
        do()
    except Exception:  # noqa: BLE001 - whatever it is: every container of the function would end with this process
        traceback.print_exc(file=sys.stderr)
        sys.stderr.flush()
        with suppress(KeyError, ValueError, OSError):
            then()
