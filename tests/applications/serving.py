"""Runs in the environment of datasette: asks it for pages, with its plugins in the host or in isolates.

Usage: serving.py FOLDER host|isolates|killed SEED
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import signal
import sqlite3
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

TABLES = """
    create table place(id integer primary key, name text, latitude real, longitude real, link text, created integer,
        body_markdown text);
    create table person(id integer primary key, name text, password text);
"""
PLACES = [
    (1, "Lima", -12.04, -77.03, '{"href": "https://example.org/", "label": "A & B"}', 1609459200, "# Hi\n\n*there*"),
    (2, "Oslo", 59.91, 10.75, '{"img_src": "/a.png", "alt": "z"}', 1609545600, "a | b"),
    (3, "Cairo", 30.04, 31.23, None, 1609632000, None),
]
ABOUT = {
    "plugins": {
        "datasette-render-timestamps": {"columns": ["created"]},
        "datasette-auth-tokens": {"tokens": [{"token": "sekrit", "actor": {"id": "root"}}]},
        "datasette-cors": {"allow_all": True},
    },
    "databases": {"data": {"plugins": {"datasette-mask-columns": {"person": ["password"]}}}},
}
INDEX = """{% extends "default:index.html" %}
{% block content %}
{% for row in sql("select name, haversine(latitude, longitude, 0, 0) as d from place order by id", database="data") %}
<p>{{ row.name }} {{ row["d"] }}</p>
{% endfor %}
{{ render_markdown("# head *x*") }}
{% endblock %}
"""
PAGES = [
    *("/", "/data", "/data/place", "/data/place/1", "/data/person", "/data/person?_sort=name&_size=50"),
    *("/-/plugins.json", "/robots.txt", "/-/actor.json", "/data/place?_search=x", "/data/person/5", "/data/nope"),
    "/data?sql=select+soundex(name),+levenshtein_distance(name,'Lima')+from+place",
    "/data?sql=select+haversine(1,2,3,4)",
    "/data/place.json",
    "/-/static-plugins/datasette-cluster-map/datasette-cluster-map.js",
]
ROUNDS = 2


def prepare(folder: Path) -> None:
    """Write a database and a template."""
    (folder / "templates").mkdir(exist_ok=True)
    (folder / "templates" / "index.html").write_text(INDEX)
    path = folder / "data.db"
    path.unlink(missing_ok=True)
    with sqlite3.connect(path) as conn:
        conn.executescript(TABLES)
        conn.executemany("insert into place values (?, ?, ?, ?, ?, ?, ?)", PLACES)
        conn.executemany("insert into person(name, password) values (?, ?)", [(f"p{n}", f"s{n}") for n in range(60)])


async def pages(folder: Path, before_each: Any) -> list[Any]:
    """Return status, headers and text of all pages, but for the times that they tell."""
    from datasette.app import Datasette

    files, templates = [str(folder / "data.db")], str(folder / "templates")
    settings = {"sql_time_limit_ms": 20_000}
    app = Datasette(files, metadata=ABOUT, template_dir=templates, settings=settings)
    await app.invoke_startup()
    found = []
    for page in PAGES * ROUNDS:
        before_each()
        answer = await app.client.get(page, headers={"authorization": "Bearer sekrit"})
        text = re.sub(r'Queries took [0-9.]+ms|"query_ms": [0-9.]+|(\d+|Many) rows', "TIME", answer.text)
        headers = {name: value for name, value in answer.headers.items() if name != "content-length"}
        found.append([page, answer.status_code, headers, text])
    return found


def main(folder: Path, mode: str, seed: int) -> None:
    """Ask for all pages and write what came."""
    prepare(folder)
    chosen, killed = random.Random(seed), []
    with ExitStack() as stack:
        host: Any = None
        if mode != "host":
            from piactors.options import Backoff
            from piactors.plugins import PluginPolicy, isolated_entry_points

            quick = Backoff(initial=0.01, jitter=0, maximum=0.05)
            policy = PluginPolicy(concurrency=16, quarantine=None, backoff=quick)
            host = stack.enter_context(isolated_entry_points("datasette", policy=policy))

        def kill() -> None:
            if mode == "killed" and chosen.random() < 0.5:
                name = chosen.choice([one.name for one in host.plugins()])
                pid = host.tree.child(name).pid
                if pid is not None:
                    killed.append(name)
                    os.kill(pid, signal.SIGKILL)

        found = asyncio.run(pages(folder, kill))
        states = {} if host is None else {name: one.state for name, one in host.health().items()}
    (folder / f"{mode}.json").write_text(
        json.dumps({"pages": found, "killed": len(killed), "states": states, "seed": seed})
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
