"""``python -m quotalab``: the same as the command ``quotalab``."""

import sys

from quotalab.cli import main

if __name__ == "__main__":
    sys.exit(main())
