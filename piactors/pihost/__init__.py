"""pihost: the child side of piactors.

Everything in this folder runs on the standard library of CPython 3.8 and newer (and PyPy), in
processes that may know nothing of piactors.  The wire format, the sequence page and the plain-data
codec live here too, because both sides of a channel use them.

The folder is started by path (``python .../pihost/__main__.py``), so that an interpreter needs
nothing installed to run it.
"""

PROTOCOL = 6
"""Version of the protocol between a host and its isolates; both say theirs before anything else."""
