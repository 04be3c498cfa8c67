"""Decisions: time, randomness and the results of I/O are arguments, and actions are return values.

An impossible input changes nothing.  Nothing here has a clock, a thread, a descriptor or randomness of its own, so
all of it can be run through millions of histories in a second or two; what performs the actions lives elsewhere.

- `lifecycle`: one isolate, from its first process to its last one; `replacement` is its other half, which swaps
  processes and keeps one ready; `bodies` is what both know of each process, and `actions` what they ask for.
"""
