"""The command line, for `python -m squall`."""

from squall.cli.main import main

if __name__ == "__main__":
    main()
