"""A plugin with a mistake."""


def run(text: str) -> str:
    """Look for what is not there."""
    return {"one": "1"}[text]
