"""What host and isolate say to each other, byte by byte, and where: frames, their streams, and the sequence page."""
