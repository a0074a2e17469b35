"""The supervisor's program, for `python -m squall.supervisor`."""

import sys

from squall.supervisor.main import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
