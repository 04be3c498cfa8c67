"""A plugin that works."""


def run(text: str) -> str:
    """Return the text in capital letters."""
    return text.upper() + "!"
