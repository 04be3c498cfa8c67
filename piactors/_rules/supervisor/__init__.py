"""When a child is started again, as pure rules: no clock, no I/O, no threads, no randomness."""
