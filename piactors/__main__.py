"""``python -m piactors`` is the console script ``piactors``."""

from __future__ import annotations

import sys

from piactors.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
