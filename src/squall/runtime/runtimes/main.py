"""The look's main: says in JSON what was found of one level's runtime, for callers that must not fork themselves."""

import json
import sys
from collections.abc import Sequence

from squall.runtime.probe import probe
from squall.runtime.runtimes.look import look
from squall.runtime.spec import OCI_LEVELS


def main(arguments: Sequence[str]) -> int:
    """Look at the runtime of the level that is the first argument, for the state directory that is the second."""
    asked, state = arguments
    level = next(one for one in OCI_LEVELS if one == asked)
    json.dump(look(level, state, probe(state)).to_json(), sys.stdout)
    return 0
