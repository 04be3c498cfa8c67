"""Plugins in isolates for applications that were not written for them: the host's end of their border."""
