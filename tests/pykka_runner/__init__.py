"""Runs pykka's own test suite with piactors' actors and futures; see `tests/test_pykka_suite.py`."""
