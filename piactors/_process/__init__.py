"""One process and its wires, and not why it runs."""
