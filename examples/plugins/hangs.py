"""A plugin that does not come to an end."""

import time


def run(text: str) -> str:
    """Keep the caller waiting."""
    while True:
        time.sleep(1)
