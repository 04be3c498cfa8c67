"""What travels between a host and its isolates: kinds of values, identity, refusals, release, random programs."""
