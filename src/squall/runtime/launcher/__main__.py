"""The launcher's program, for `python -I -m squall.runtime.launcher`."""

import sys

from squall.runtime.launcher.main import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
