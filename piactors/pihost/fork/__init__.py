"""The launcher and what it starts: it makes isolates and ends what they leave, and no other room knows of it."""
