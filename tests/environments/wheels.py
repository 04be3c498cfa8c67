"""Distributions made for tests, and an index of them on this machine: nothing is fetched from anywhere."""

from __future__ import annotations

import base64
import hashlib
import html
import http.server
import io
import tarfile
import threading
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import attrs


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def wheel(
    folder: Path,
    name: str,
    version: str,
    *,
    files: Mapping[str, str] | None = None,
    requires: Sequence[str] = (),
    entry_points: str = "",
    tag: str = "py3-none-any",
    requires_python: str = "",
) -> Path:
    """Make a wheel; by default with one module that has its version."""
    about = f"{name.replace('-', '_')}-{version}"
    info = f"{about}.dist-info"
    meta = [f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}"]
    meta += [f"Requires-Dist: {one}" for one in requires]
    meta += [f"Requires-Python: {requires_python}"] if requires_python else []
    content = dict(files or {f"{name.replace('-', '_')}.py": f"VERSION = {version!r}\n"})
    content[f"{info}/METADATA"] = "\n".join(meta) + "\n"
    content[f"{info}/WHEEL"] = f"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: {tag}\n"
    if entry_points:
        content[f"{info}/entry_points.txt"] = entry_points
    record = [f"{path},sha256={_digest(text.encode())},{len(text.encode())}" for path, text in content.items()]
    content[f"{info}/RECORD"] = "\n".join([*record, f"{info}/RECORD,,"]) + "\n"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{about}-{tag}.whl"
    with zipfile.ZipFile(path, "w") as file:
        for inside, text in content.items():
            file.writestr(zipfile.ZipInfo(inside, (2020, 1, 1, 0, 0, 0)), text)
    return path


def sdist(folder: Path, name: str, version: str, setup: str) -> Path:
    """Make a source distribution with a build backend of its own: the module `backend`."""
    about = f"{name.replace('-', '_')}-{version}"
    content = {
        "PKG-INFO": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        "pyproject.toml": (
            '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
            f'[project]\nname = "{name}"\nversion = "{version}"\n'
        ),
        "backend.py": setup,
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{about}.tar.gz"
    with tarfile.open(path, "w:gz") as file:
        for inside, text in content.items():
            entry = tarfile.TarInfo(f"{about}/{inside}")
            entry.size = len(text.encode())
            file.addfile(entry, io.BytesIO(text.encode()))
    return path


def _digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


@attrs.define
class Index:
    """A package index of the files in a folder.

    Attributes:
        url: its address.
        asked: what was asked of it, in order.
        hashes: what it says of files in place of the truth.
        yanked: the names of files that are yanked.
    """

    folder: Path
    url: str = ""
    asked: list[str] = attrs.field(factory=list)
    hashes: dict[str, str] = attrs.field(factory=dict)
    yanked: set[str] = attrs.field(factory=set)

    def page(self, path: str) -> bytes | None:
        """Return what it answers; None if there is no such thing."""
        self.asked.append(path)
        parts = path.strip("/").split("/")
        if parts[0] == "files" and (self.folder / parts[-1]).is_file():
            return (self.folder / parts[-1]).read_bytes()
        if len(parts) != 2 or parts[0] != "simple":
            return None
        links = [self._link(file) for file in sorted(self.folder.iterdir()) if _project(file) == parts[1]]
        return "<!DOCTYPE html><html><body>{}</body></html>".format("\n".join(links)).encode() if links else None

    def _link(self, file: Path) -> str:
        digest = self.hashes.get(file.name) or sha256(file.read_bytes())
        yanked = ' data-yanked="broken"' if file.name in self.yanked else ""
        return f'<a href="/files/{html.escape(file.name)}#sha256={digest}"{yanked}>{html.escape(file.name)}</a>'


def _project(file: Path) -> str:
    return file.name.split("-")[0].replace("_", "-").lower()


@contextmanager
def serving(folder: Path) -> Iterator[Index]:
    """Serve an index of the files in a folder on this machine."""
    index = Index(folder)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = index.page(self.path)
            self.send_response(404 if found is None else 200)
            self.send_header("Content-Type", "application/octet-stream" if "/files/" in self.path else "text/html")
            self.send_header("Content-Length", str(len(found or b"")))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(found or b"")

        do_HEAD = do_GET

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        index.url = f"http://127.0.0.1:{server.server_address[1]}/simple/"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield index
        finally:
            server.shutdown()
            thread.join()
