"""Build step: runs the function of an image's step, in the image that is being built.

`python -m squall.runner.build_step FILE`, where FILE holds a function, its arguments and its named arguments, packed by value.
What it raises ends this program with a traceback, and the step with it.
"""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

from squall.runner.load import import_cloudpickle


def main(path: str) -> None:
    """Calls the function in the file at `path`."""
    import_cloudpickle()
    function, args, kwargs = pickle.loads(Path(path).read_bytes())  # noqa: S301 - user code in its own sandbox
    function(*args, **kwargs)


if __name__ == "__main__":
    main(sys.argv[1])
