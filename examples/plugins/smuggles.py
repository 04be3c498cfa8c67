"""A plugin whose result, were it unpickled without a thought, would run code in the host."""


class Trojan:
    """Pickles as a call of `print`; it could be any other function."""

    def __reduce__(self) -> tuple[object, ...]:
        """Say how to rebuild this."""
        return print, ("SMUGGLED: this was run in the host",)


def run(text: str) -> object:
    """Return something that is not what it seems."""
    return Trojan()
