"""Takes for ever to be imported, so whoever starts it is for ever just starting."""

from __future__ import annotations

import time

from telling import say

say(at="slow")
while True:
    time.sleep(1000)
