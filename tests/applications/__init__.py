"""Real applications, unmodified, whose plugins run in isolates."""
