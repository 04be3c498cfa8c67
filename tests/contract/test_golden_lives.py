"""What a program sees of an isolate's life is what it has always seen.

    python -m tests.contract.test_golden_lives      # writes it down anew: only for what is meant to change

`golden_lives.json` was recorded before the rules of these lives were written down in one place (`piactors._rules`).
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest

from tests.contract.scripted import LIVES, live

GOLDEN = Path(__file__).with_name("golden_lives.json")


@pytest.mark.parametrize("name", LIVES)
def test_a_life_looks_as_it_always_did(name: str, tmp_path: Path) -> None:
    assert json.loads(json.dumps(live(name, tmp_path))) == json.loads(GOLDEN.read_text())[name]


def _record() -> None:
    found = {}
    for name in LIVES:
        with tempfile.TemporaryDirectory() as folder:
            found[name] = live(name, Path(folder))
    rows = (f"{json.dumps(name)}: {json.dumps(life)}" for name, life in found.items())
    GOLDEN.write_text("{\n" + ",\n".join(rows) + "\n}\n")


if __name__ == "__main__":
    _record()
