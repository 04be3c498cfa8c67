"""Whether what users give is of the right kind: each answer names what was wrong and what is allowed."""
