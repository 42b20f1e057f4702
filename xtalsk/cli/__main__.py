"""``python -m xtalsk.cli`` is the command ``xtalsk``."""

import sys

from xtalsk.cli import main

if __name__ == "__main__":
    sys.exit(main())
