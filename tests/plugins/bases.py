"""A base class that an application has for its plugins."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod


class Base(ABC):
    """What each plugin is."""

    @abstractmethod
    def work(self, value: int) -> int:
        """Do something."""

    def where(self) -> int:
        """Return the process that it runs in."""
        return os.getpid()
