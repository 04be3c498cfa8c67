"""The plain data format, which either side reads without trusting the other; it knows of no channel and no process."""
