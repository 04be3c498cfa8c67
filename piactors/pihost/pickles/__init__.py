"""What travels as pickles: definitions of the host, what makes them again here, and what must not be copied at all."""
