"""datasette, unmodified, with public plugins of several kinds: each page is the same when they run in isolates."""

from __future__ import annotations

import json
import os
import random
import subprocess
from pathlib import Path
from typing import Any

import pytest

from piactors.environments import BuildFailed, Environment, EnvironmentSpec, EnvironmentStore
from tests.applications import serving

ROOT = Path(__file__).resolve().parents[2]
PLUGINS = (
    *("auth-tokens==0.3", "block-robots==1.1.1", "cluster-map==0.18.2", "cors==1.0.1", "haversine==0.2.1"),
    *("jellyfish==2.0", "json-html==1.0.1", "mask-columns==0.2.2", "render-markdown==2.2.1"),
    *("render-timestamps==1.0.1", "template-sql==1.0.3", "vega==0.6.2"),
)
"""Routes, SQL functions, an authorizer of SQL, cells, template functions (async ones, too), scripts, ASGI, tokens."""
OURS = ("pykka>=4", "psutil", "multiprocess", "attrs", "dill", "packaging", "pluggy")


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """An environment with datasette and its plugins."""
    store = EnvironmentStore(tmp_path_factory.mktemp("datasette"))
    wanted = (*(f"datasette-{one}" for one in PLUGINS), "datasette==0.65.1", "setuptools<81", *OURS)
    try:
        return store.prepare(EnvironmentSpec(requirements=wanted)).get(timeout=240)
    except BuildFailed as error:
        pytest.skip(f"datasette cannot be installed here: {str(error)[-300:]}")


def served(environment: Environment, folder: Path, mode: str, seed: int = 0) -> Any:
    command = [environment.python, "-W", "ignore", serving.__file__, str(folder), mode, str(seed)]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "0"}
    said = subprocess.run(command, env=env, capture_output=True, text=True, timeout=100, check=False)
    assert said.returncode == 0, said.stderr[-4000:]
    return json.loads((folder / f"{mode}.json").read_text())


@pytest.mark.timeout(600)
def test_pages_are_the_same_byte_for_byte(environment: Environment, tmp_path: Path) -> None:
    wanted = served(environment, tmp_path, "host")
    statuses = [status for _, status, _, _ in wanted["pages"]]
    assert statuses.count(200) == len(statuses) - serving.ROUNDS  # one of the pages is not there
    assert len(json.loads(next(text for page, _, _, text in wanted["pages"] if "plugins.json" in page))) >= len(PLUGINS)
    found = served(environment, tmp_path, "isolates")
    assert set(found["states"].values()) == {"running"}
    assert len(found["states"]) >= len(PLUGINS)
    assert found["pages"] == wanted["pages"]
    found = served(environment, tmp_path, "killed", seed=random.SystemRandom().randrange(1 << 32))
    assert found["killed"] > 5
    assert found["pages"] == wanted["pages"], found["seed"]
