"""From what is to be hosted to the ref of an isolate that hosts it: above refs, below actors."""
