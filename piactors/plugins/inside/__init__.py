"""What runs in the isolate of a plugin, on any interpreter: a folder of its own, which is on the isolate's path."""

from __future__ import annotations

import os

SIDE = f"{os.path.join(os.path.dirname(os.path.abspath(__file__)), '_piactors_plugin.py')}:Plugin"
"""What an isolate of a plugin hosts, by name."""
APPLICATION_SIDE = SIDE.replace("_piactors_plugin.py:Plugin", "_piactors_application.py:Application")
"""The same, of an application that was not written for isolates."""
