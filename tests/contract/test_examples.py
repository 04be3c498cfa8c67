"""The examples, as the programs that they are: what they print, and that they leave nothing behind."""

from __future__ import annotations

import os
import re
import secrets
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psutil
import pytest

EXAMPLES = Path(__file__).resolve().parent.parent.parent / "examples"
SECONDS = 60

pytestmark = pytest.mark.timeout(90)


def run(name: str, *args: str, folder: Path, code: int = 0) -> str:
    """Run an example in an empty folder and return what it printed; fail where it leaves something behind."""
    with started(name, *args, folder=folder) as process:
        return rest_of(process, code)


@contextmanager
def started(name: str, *args: str, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Start an example in an empty folder; fail where it leaves something behind."""
    temporary = folder / "temporary"
    temporary.mkdir()
    mark = f"PIACTORS_EXAMPLE_{secrets.token_hex(8)}"  # isolates and launchers inherit a variable of this prefix
    command, env = [sys.executable, str(EXAMPLES / name), *args], {**os.environ, "TMPDIR": str(temporary), mark: "1"}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=folder, env=env, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            yield process
        finally:
            process.kill()  # where a test has failed before its end
    assert marked(mark) == []
    left = [path for path in folder.rglob("*") if path != temporary]
    assert [path for path in left if not path.name.startswith("core")] == []  # the kernel's own, where `ulimit` lets it


def rest_of(process: subprocess.Popen[str], code: int = 0) -> str:
    """Wait for the end of an example and return what it has printed until then."""
    assert process.stdout is not None
    assert process.stderr is not None
    text, errors = process.stdout.read(), process.stderr.read()
    assert process.wait(SECONDS) == code, errors + text
    assert errors == ""
    return text


def text_until(process: subprocess.Popen[str], line: str) -> str:
    """Return what an example prints until it prints this line."""
    assert process.stdout is not None
    text = ""
    while line not in text.splitlines():
        more = process.stdout.readline()
        assert more, f"{line!r} is missing in {text!r}"
        text += more
    return text


def marked(mark: str) -> list[int]:
    """Return the processes that carry a mark in their environment."""
    return [process.pid for process in psutil.process_iter() if carries(process, mark)]


def carries(process: psutil.Process, mark: str) -> bool:
    try:
        return mark in process.environ()
    except (psutil.Error, OSError):  # gone, or somebody else's
        return False


def in_order(text: str, *parts: str) -> None:
    """Assert that the parts occur in the text, one after the other."""
    place = 0
    for part in parts:
        found = text.find(part, place)
        assert found >= 0, f"{part!r} is missing after {text[:place]!r} in {text!r}"
        place = found + len(part)


def test_a_mark_is_found_while_its_process_runs() -> None:
    """Otherwise no test here would find what is left behind."""
    mark = f"PIACTORS_EXAMPLE_{secrets.token_hex(8)}"
    code = "import piactors, time; print(piactors.spawn('builtins:print').pid, flush=True); time.sleep(60)"
    host = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env={**os.environ, mark: "1"}
    )
    with host:
        assert host.stdout is not None
        isolate = int(host.stdout.readline())
        assert {host.pid, isolate} < set(marked(mark))  # and the launcher
        host.terminate()


def test_sample_tour(tmp_path: Path) -> None:
    text = run("sample_host.py", folder=tmp_path)
    in_order(text, "returned: 7", "raised: RuntimeError('thrown by the sample')", ", in method", "unharmed")
    in_order(text, "[IsolateStarted] sample: generation 1", "[IsolateExited] sample: generation 1, ended by a signal")
    in_order(text, "crashed: ended by a signal, signal 11 (SIGSEGV)", "sample_lib.py", "returned: 42", "unharmed")
    in_order(text, "[IsolateRestarting]", "[IsolateStarted] sample: generation 2", "stopped as told")
    assert "[OutputReceived] sample: stdout: hello\n" in text


def test_sample_words(tmp_path: Path) -> None:
    text = run("sample_host.py", "print hello", "sleep10", "return9", folder=tmp_path)
    assert "stdout: hello\n" in text
    assert "returned: 9\n" in text


@pytest.mark.parametrize(("args", "generations"), [(["crash"], 1), (["--restart", "crash"], 2)])
def test_sample_crash(tmp_path: Path, args: list[str], generations: int) -> None:
    text = run("sample_host.py", *args, folder=tmp_path, code=1)
    assert "crashed: ended by a signal, signal 11 (SIGSEGV)" in text
    assert text.count("[IsolateStarted]") == generations
    assert ("stdout: back\n" in text) == (generations == 2)


def test_sample_of_an_unknown_word(tmp_path: Path) -> None:
    text = run("sample_host.py", "nonsense", folder=tmp_path, code=1)
    in_order(text, "raised: ValueError(\"unknown word 'nonsense'\")", "sample_lib.py")


def test_held_workers(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """With more time for a call: on a machine that is busy, two seconds of a processor can take more than five."""
    code = (EXAMPLES / "held_workers.py").read_text()
    assert code.count("call_timeout=5.0") == 1
    copy = tmp_path_factory.mktemp("copy") / "held_workers.py"
    copy.write_text(code.replace("call_timeout=5.0", "call_timeout=25.0"))
    text = run(str(copy), folder=tmp_path)
    in_order(
        text,
        "max_memory: ",
        "eat        broke its limit: max_memory is 200.0 MiB, and ",
        "and then 2 + 3 is 5",
        "spin       broke its limit: max_cpu_time is 2.00 s, and ",
        "and then 2 + 3 is 5",
        "hang ran longer than its call_timeout, 0.5 s: time.sleep(3600)",
        "and then 2 + 3 is 5",
        "fork_bomb  ",
        "and then 2 + 3 is 5",
        "leak       100 calls kept 4 MiB each, and ran in ",
    )
    observed = re.findall(r"is (200\.0|2\.00) (?:MiB|s), and ([\d.]+)", text)
    assert [float(allowed) <= float(found) for allowed, found in observed] == [True, True], observed


def test_basic(tmp_path: Path) -> None:
    text = run("basic.py", folder=tmp_path)
    host, actor = map(int, re.findall(r"process (\d+), the actor lives in (\d+)\.", text)[0])
    assert host != actor
    in_order(
        text,
        f"got {{'any': 'message'}} in process {actor}",
        "Hello, Ada!",
        "Good day, Grace!",
        "['Ada', 'Grace']",
        "Goodbye, Ada and Grace!",
        "stopped by itself; alive: False",
    )


def test_worker_pool(tmp_path: Path) -> None:
    text = run("worker_pool.py", "--pool-size", "3", "--below", "20000", folder=tmp_path)
    parts = re.findall(r"^process \d+ found ([\d,]+) primes", text, re.MULTILINE)
    assert len(parts) == 3
    assert sum(int(part.replace(",", "")) for part in parts) == 2262
    assert "2,262 primes below 20,000" in text


def test_worker_pool_as_it_comes(tmp_path: Path) -> None:
    assert "17,984 primes below 200,000" in run("worker_pool.py", folder=tmp_path)


def test_plugin_host(tmp_path: Path) -> None:
    text = run("plugin_host.py", folder=tmp_path)
    outcomes = dict(line.split(maxsplit=1) for line in text.splitlines()[:-2])
    assert list(outcomes) == sorted(path.stem for path in (EXAMPLES / "plugins").glob("*.py"))
    assert outcomes["crashes"] == "crashed: ended by a signal, signal 6 (SIGABRT)"
    assert outcomes["hangs"].startswith("crashed: ended for a call that ran too long")
    assert outcomes["raises"].startswith("raised KeyError('the host goes on') in File")
    assert "raises.py" in outcomes["raises"]
    assert outcomes["shouts"] == "returned 'THE HOST GOES ON!'"
    assert outcomes["smuggles"].startswith("was refused: ")
    assert outcomes["wraps"] == "returned 'the host / goes on'"
    assert text.splitlines()[-2:] == [
        "Those that work, at once: ['the host / goes on', 'THE HOST GOES ON!']",
        "The host goes on, and so do all plugins; crashes, hangs were restarted.",
    ]
    assert "SMUGGLED" not in text


def test_word_count(tmp_path: Path) -> None:
    text = run("word_count.py", folder=tmp_path)
    assert re.search(r"^poison\.py made \S+ crash: ended by a signal, signal 11 \(SIGSEGV\)$", text, re.MULTILINE)
    counted = re.search(r"^counted: (300 files, [\d,]+ lines, [\d,]+ words)$", text, re.MULTILINE)
    assert counted is not None
    assert text.endswith(f"checked: {counted[1]}\n")


def test_word_count_of_a_folder(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("sources")
    (folder / "deep").mkdir()
    (folder / "a.py").write_text("one two\nthree two\n")
    (folder / "deep" / "b.py").write_text("two\n")
    text = run("word_count.py", str(folder), "--no-poison", "--no-check", folder=tmp_path)
    assert "crash" not in text
    assert "checked" not in text
    in_order(text, "counted: 2 files, 3 lines, 5 words", "most common: two 3")


Definitions = list[tuple[str, str, str, int]]


def write_sources(folder: Path, count: int, functions: int) -> dict[str, Definitions]:
    """Write modules of which it is known what an index of them has to hold; two, the last ones, crash their parser."""
    expected = {}
    for number in range(count):
        path, name = folder / f"module_{number:03}.py", f"module_{number:03}"
        text = "class Café:\n    pass\n" + "".join(f"def f{i}(): return {i}\n" for i in range(functions))
        path.write_text(text, encoding="utf-8")
        rows = [(name, "function", f"f{i}", i + 3) for i in range(functions)]
        expected[str(path)] = [(name, "class", "Café", 1), *rows]
    (folder / "more").mkdir()
    for name in ("more/breaks.py", "more/breaks_too.py"):
        (folder / name).write_text("class Łukasz:\n    pass\n", encoding="utf-8")
        expected[str(folder / name)] = []
    return expected


def read_index(database: Path) -> tuple[dict[str, Definitions], dict[str, str]]:
    """Return what an index holds of each file, and the errors."""
    with closing(sqlite3.connect(database)) as connection:
        files = dict(connection.execute("SELECT path, error FROM files"))
        found: dict[str, Definitions] = {path: [] for path in files}
        for path, *row in connection.execute("SELECT path, module, kind, name, line FROM definitions ORDER BY rowid"):
            found[path].append(tuple(row))
    return found, {Path(path).name: error for path, error in files.items() if error is not None}


CRASH = "PoisonMessage: ended by a signal, signal 11 (SIGSEGV)"


def test_document_index(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Its actors and its tree are in index_parts.py."""
    folder, database = tmp_path_factory.mktemp("sources"), tmp_path_factory.mktemp("database") / "index.db"
    expected = write_sources(folder, 20, 5)
    (folder / "invalid.py").write_text("def\n")
    text = run("document_index.py", "--folder", str(folder), "--database", str(database), folder=tmp_path)
    found, errors = read_index(database)
    assert found == {**expected, str(folder / "invalid.py"): []}
    assert errors.pop("invalid.py").startswith("SyntaxError(")
    assert errors == {"breaks.py": CRASH, "breaks_too.py": CRASH}
    restarts = {id: int(times) for id, times in re.findall(r"([\w-]+) (\d+)", text.partition("restarts: ")[2])}
    assert restarts["parser-1"] + restarts["parser-2"] == 4  # two tries of two files
    assert restarts["writer"] == restarts["parsers"] == restarts["watcher"] == 0
    in_order(text, "20 files indexed, 120 rows, 3 files failed", "checked")


def test_document_index_of_the_standard_library(tmp_path: Path) -> None:
    text = run("document_index.py", "--limit", "100", "--parsers", "3", folder=tmp_path)
    in_order(text, "parser-3  running", "done in", f"failed: functools.py: {CRASH}", "files indexed", "checked")


def test_document_index_where_parts_of_it_are_killed(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder, database = tmp_path_factory.mktemp("sources"), tmp_path_factory.mktemp("database") / "index.db"
    expected = write_sources(folder, 398, 100)
    arguments = "--folder", str(folder), "--limit", "400", "--database", str(database)
    with started("document_index.py", *arguments, folder=tmp_path) as process:
        pids = dict(re.findall(r"(\S+)  running  pid (\d+)", text_until(process, "350 files to go")))
        kill(int(pids["parser-1"]))
        text_until(process, "200 files to go")
        kill(int(pids["writer"]))
        text = rest_of(process)
    assert read_index(database) == (expected, {"breaks.py": CRASH, "breaks_too.py": CRASH})
    in_order(text, "files to go", "done in", "restarts: writer 1, parsers 1, ", "watcher 1\n", "checked")


def kill(pid: int) -> None:
    """Kill a process that runs, and see it gone."""
    process = psutil.Process(pid)
    assert process.status() != psutil.STATUS_ZOMBIE
    process.send_signal(signal.SIGKILL)
    process.wait(10)


def test_talking(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    sources = tmp_path_factory.mktemp("sources")
    for name in "ab":
        (sources / f"{name}.py").write_text("import one\nimport two\n# import, word, important\n")
    text = run("talking.py", "--folder", str(sources), "--word", "import", folder=tmp_path)
    in_order(
        text,
        "'import' is 4 times in 2 files (read)",
        "'import' is 4 times in 2 files (from the cache)",
        "4 reports came: 8 times in all",
        "cancelled, and it has ended: True",
    )


SAVINA = sorted(path.stem for path in (EXAMPLES / "savina").glob("*.py") if path.stem != "stage")


@pytest.mark.parametrize("actors", ["processes", "threads"])
@pytest.mark.parametrize("name", SAVINA)
def test_savina(name: str, actors: str, tmp_path: Path) -> None:
    """Each checks its own result, which is the same whatever its actors are."""
    assert len(SAVINA) == 12
    text = run(f"savina/{name}.py", "--actors", actors, "--size", "60", folder=tmp_path)
    assert re.search(rf", {actors}: [\d,]+ messages in .* each: result checked", text)


def test_asyncio_client(tmp_path: Path) -> None:
    text = run("asyncio_client.py", folder=tmp_path)
    in_order(
        text,
        "one call:   49",
        "many calls: ['<a>', '<b>', '<c>']",
        "too slow:   given up",
        "exited, exit code 3",
        "after it:   64",
        "alive is False",
    )
    ticks = re.search(r"the clock ticked (\d+) times", text)
    assert ticks is not None
    assert int(ticks[1]) >= 10


def test_every_example_is_tested_and_in_the_readme() -> None:
    readme, tests = (EXAMPLES / "README.md").read_text(), Path(__file__).read_text()
    for path in EXAMPLES.glob("*.py"):
        assert f"`{path.name}`" in readme
        assert path.name in tests
