"""The server as a command: `python -m squall.server --state DIR`."""

from __future__ import annotations

import sys

from squall.server.main import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
