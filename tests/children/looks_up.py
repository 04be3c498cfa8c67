"""Looks up the folder for temporary files as it is imported, which `tempfile` does once."""

from __future__ import annotations

import tempfile

folder = tempfile.gettempdir()
