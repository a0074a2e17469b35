"""The agent as a command: `python -m squall.agent --state DIR`."""

from __future__ import annotations

import sys

from squall.agent.main import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
