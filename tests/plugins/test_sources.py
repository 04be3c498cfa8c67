"""Where plugins come from: manifests that are wrong, or evil, and folders that are not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from piactors.environments import EnvironmentSpec, EnvironmentStore
from piactors.plugins import EntryPoints, Folder, Listed, PluginSpec, RefusedPlugin
from piactors.plugins.sources import found_in
from piactors.plugins.versions import check_api, why_incompatible
from tests.environments.wheels import wheel
from tests.plugins.conftest import Start, Write


def only(folder: Path) -> PluginSpec | RefusedPlugin:
    (found,) = Folder(str(folder)).find()
    return found


def manifest(folder: Path, text: str, name: str = "a") -> PluginSpec | RefusedPlugin:
    place = folder / name
    place.mkdir(exist_ok=True)
    (place / "plugin.toml").write_text(text)
    return only(folder)


def test_a_manifest_says_what_a_plugin_is(folder: Path) -> None:
    text = """
        name = "blur"
        version = "1.3.0"
        target = "blur.py:Plugin"
        api = ">=2.1,<3"
        [environment]
        requirements = ["pillow>=11"]
        python = ">=3.10"
        lock = ""
    """.replace('lock = ""\n', "\n")
    found = manifest(folder, text)
    assert isinstance(found, PluginSpec)
    assert (found.name, found.version, found.api) == ("blur", "1.3.0", ">=2.1,<3")
    assert found.target == f"{folder / 'a' / 'blur.py'}:Plugin"
    assert found.environment == EnvironmentSpec(requirements=["pillow>=11"], python=">=3.10")
    assert found.sys_path == (str(folder / "a"),)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("name = 3\ntarget = 'x'", "name"),
        ("name = 'a'", "target"),
        ("name = 'a'\ntarget = 3", "target"),
        ("name = '../up'\ntarget = 'x'", "name"),
        ("name = 'a'\ntarget = 'x'\ncolour = 1", "colour: there is no such entry"),
        ("name = 'a'\ntarget = '../other/x.py'", "is not in the plugin's folder"),
        ("name = 'a'\ntarget = '/etc/x.py'", "is not in the plugin's folder"),
        ("name = 'a'\ntarget = 'x'\nenvironment = 'numpy'", "environment"),
        ("name = 'a'\ntarget = 'x'\n[environment]\nrequirements = ['-r /etc/passwd']", "requirements"),
        ("name = 'a'\ntarget = 'x'\n[environment]\nevil = 1", "environment"),
        ("name = [", "plugin.toml"),
        ("name = 'a'\ntarget = 'x'\nwants = " + "[" * 100_000, "plugin.toml"),
        ("# " + "x" * (1 << 20), "larger than 1 MiB"),
    ],
)
def test_a_manifest_that_is_wrong_is_refused(folder: Path, text: str, why: str) -> None:
    found = manifest(folder, text)
    assert isinstance(found, RefusedPlugin)
    assert why in found.why


def test_a_manifest_that_is_a_link_to_elsewhere_is_refused(folder: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere.toml"
    elsewhere.write_text("name = 'a'\ntarget = 'x'")
    (folder / "a").mkdir()
    (folder / "a" / "plugin.toml").symlink_to(elsewhere)
    found = only(folder)
    assert isinstance(found, RefusedPlugin)
    assert "link to another folder" in found.why


def test_a_target_that_is_a_link_to_elsewhere_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "x.py").write_text("")
    (folder / "a").mkdir()
    (folder / "a" / "x.py").symlink_to(tmp_path / "x.py")
    found = manifest(folder, "name = 'a'\ntarget = 'x.py'")
    assert isinstance(found, RefusedPlugin)


def test_what_is_no_plugin_is_passed_over(folder: Path) -> None:
    (folder / "empty").mkdir()
    (folder / "file.py").write_text("raise SystemExit")
    assert list(Folder(str(folder)).find()) == []
    assert list(Folder(str(folder / "not there")).find()) == []
    assert list(EntryPoints("a group that nobody has").find()) == []


def test_of_equal_names_the_first_counts(write: Write, folder: Path) -> None:
    write("a", "")
    own = PluginSpec(name="a", target="mine")
    specs, refused = found_in([Listed([own]), Folder(str(folder))])
    assert specs == [own]
    assert refused == [RefusedPlugin("a", "another plugin of that name comes first")]


def test_entry_points_that_are_many_are_read_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "many-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: many\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[many]\n" + "".join(f"p{n} = m:f\n" for n in range(200_000)))
    monkeypatch.syspath_prepend(str(tmp_path))
    assert len(list(EntryPoints("many").find())) == 10_000


@pytest.mark.parametrize(
    ("api", "wanted", "why"),
    [
        (None, ">=3", None),
        ("2.3", "*", None),
        ("2.3", ">=2.1,<3", None),
        ("3.0rc1", ">=2", None),
        ("2.3", ">=3", "upgrade the application"),
        ("2.3", "<2", "upgrade plugin p"),
        ("2.3", "==2.*", None),
        ("3.1", "~=2.3", "upgrade plugin p"),
        ("2.3", "new", "not a specifier"),
    ],
)
def test_versions_that_fit(api: str | None, wanted: str, why: str | None) -> None:
    found = why_incompatible(api, wanted, "p")
    assert (found is None) if why is None else (found is not None and why in found)


def test_a_version_of_an_api_is_checked() -> None:
    check_api("2.3")
    with pytest.raises(ValueError, match="use a version such as"):
        check_api("two")


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    for version in ("1.0", "2.0"):
        wheel(tmp_path / "wheels", "blue", version)
    return tmp_path / "wheels"


def test_two_plugins_whose_dependencies_conflict(
    write: Write, start: Start, wheels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIACTORS_ENVIRONMENTS", str(tmp_path / "environments"))
    code = "import blue, sys\ndef render(text): return [text, blue.VERSION, list(sys.version_info[:2])]\n"
    environment = "[environment]\nrequirements = ['blue=={}']\nfind_links = ['{}']\noffline = true\npython = '{}'\n"
    write("a", code, environment.format("1.0", wheels, "3.9"))
    write("b", code, environment.format("2.0", wheels, "3.12"))
    write("c", code, environment.format("3.0", wheels, "3.12"))
    host = start()
    assert host.hook.render(text="x") == [["x", "2.0", [3, 12]], ["x", "1.0", [3, 9]]]
    states = {info.name: info for info in host.plugins()}
    assert states["c"].state == "failed"
    assert "blue" in states["c"].why
    paths = [one.path for one in EnvironmentStore(tmp_path / "environments").environments()]
    assert len(paths) == 2
