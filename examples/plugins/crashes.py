"""A plugin that takes its process with it."""

import os


def run(text: str) -> str:
    """Never return."""
    os.abort()
