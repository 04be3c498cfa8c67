"""Whether what users give is of the kind that is wanted: each answer names what was wrong and what is allowed."""
