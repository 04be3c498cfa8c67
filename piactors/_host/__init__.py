"""The host's side of processes: the I/O thread, the launcher, one generation of an isolate, serialisation."""
