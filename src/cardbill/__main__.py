"""``python -m cardbill``: the ``cardbill`` command."""

import sys

from cardbill.cli import main

if __name__ == "__main__":
    sys.exit(main())
