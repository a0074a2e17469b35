"""The runner as a command: for interpreters that are not the launcher's own."""

from __future__ import annotations

import os

from squall.runner.main import main

if __name__ == "__main__":
    control, log = os.environ.pop("SQUALL_RUNNER_FDS").split(",")
    main(int(control), int(log))
