"""Benchmarks: one script per question.  Each compares with something measured in the same run."""
