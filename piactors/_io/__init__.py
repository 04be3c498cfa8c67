"""Moves bytes between descriptors and threads; knows no process."""
