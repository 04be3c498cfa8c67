"""A chaos program: every feature mixed at random, with an exact ledger.  See `tests.soak.chaos`."""
