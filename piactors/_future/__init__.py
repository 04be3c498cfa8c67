"""One outcome, settled once, and those who wait for it; knows nothing of isolates."""
