"""Turns values and definitions into bytes, and what comes back into values; knows no process."""
