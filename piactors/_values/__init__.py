"""What crosses as a handle because it cannot cross as a copy; imported by both sides."""
