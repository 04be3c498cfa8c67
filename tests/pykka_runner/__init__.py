"""Runs pykka's own test suite with piactors' actors and futures; see `tests/contract/test_pykka_suite.py`."""
