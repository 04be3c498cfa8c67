"""What crosses between an isolate and its host without being copied: lent by one side, borrowed by the other."""
