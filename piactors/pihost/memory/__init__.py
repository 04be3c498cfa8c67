"""What host and isolate hold together instead of copying it: shared memory, and descriptors; it needs no other room."""
