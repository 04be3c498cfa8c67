"""What happens to isolates and their messages, as pure rules: no clock, no I/O, no threads."""
