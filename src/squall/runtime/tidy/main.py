"""Tidy's main: for callers that must not fork themselves, and after whose end nobody would do it."""

import os
import sys
import time
from collections.abc import Sequence

from squall.runtime.host import Host
from squall.runtime.instance import instance_of
from squall.runtime.leftovers import remove_leftovers
from squall.runtime.namespaces import do_as_container_root
from squall.runtime.probe import probe

_AGAIN_S = 0.05


def main(arguments: Sequence[str]) -> int:
    """`STATE SECONDS`: remove them from this state directory, again for so many seconds while there are more."""
    match list(arguments):
        case [state, seconds]:
            until_s = time.monotonic() + float(seconds)
        case _:
            sys.exit("usage: squall-tidy STATE SECONDS")
    host = probe(state)
    if host.subordinate is None:
        return _tidy(state, host, until_s)
    return do_as_container_root(host, lambda: _tidy(state, host, until_s))


def _tidy(state: str, host: Host, until_s: float) -> int:
    directory = os.path.join(state, "scratch")
    while True:
        # What has been killed just now is still in its groups, and one that is a moment old may be another's.
        remove_leftovers(directory, host, instance_of(state))
        if not os.listdir(directory) or time.monotonic() > until_s:
            return 0
        time.sleep(_AGAIN_S)
