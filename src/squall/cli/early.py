"""Early: the server of `squall run` and `squall deploy` is started while the command itself is still being loaded."""

import contextlib
import sys
from collections.abc import Sequence

from squall.model.errors import Error
from squall.sdk.supervising import begin_supervisor
from squall.settings.client import named_server
from squall.settings.paths import find_state


def begin(arguments: Sequence[str]) -> None:
    """Begin what such a command with these arguments will need; what goes wrong is said when it is needed."""
    if sys.platform != "linux" or not arguments or not {"-h", "--help"}.isdisjoint(arguments):
        return
    with contextlib.suppress(Error):
        if named_server() is None:
            begin_supervisor(find_state())
