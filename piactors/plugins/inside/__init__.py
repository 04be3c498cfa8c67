"""What runs in the isolate of a plugin, on any interpreter: a folder of its own, which is on the isolate's path."""

from __future__ import annotations

import os

FOLDER = os.path.dirname(os.path.abspath(__file__))
SIDE = "_piactors_plugin.plugin:Plugin"
"""What an isolate of a plugin hosts, by name; with `FOLDER` on its path."""
APPLICATION_SIDE = "_piactors_plugin.application:Application"
"""The same, of an application that was not written for isolates."""
