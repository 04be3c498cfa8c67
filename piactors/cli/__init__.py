"""The command line: ``piactors run`` runs a function in a supervised process.  It needs the extra ``cli``."""
