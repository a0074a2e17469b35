"""The evidence from a plain checkout, with nothing but an interpreter: `python -m squall.testing.gpu`."""

import sys

from squall.testing.gpu.run import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
