"""Classes of modules that plain values may be of, and that most processes never import."""

from __future__ import annotations

import subprocess
import sys


def test_late_classes_are_known_to_all_threads() -> None:
    """Whichever thread is the first to meet one, and whether or not its module was imported by that name."""
    code = """
import sys, threading
sys.setswitchinterval(1e-6)
from piactors.pihost.plain import encode
from _decimal import Decimal
assert "decimal" not in sys.modules
wrong = []
def work():
    for _ in range(200):
        try:
            encode.encode([Decimal(1), {1: Decimal(2)}])
        except Exception as error:
            wrong.append(error)
threads = [threading.Thread(target=work) for _ in range(4)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
assert not wrong, wrong[0]
"""
    subprocess.run([sys.executable, "-c", code], check=True)
