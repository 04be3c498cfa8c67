"""pluggy's own tests, from its sdist: with the manager of plugin hosts, and with each plugin in an isolate of its own.

The sdist comes through pip, or from the path in the environment variable PIACTORS_PLUGGY_SDIST.
"""

from __future__ import annotations

import pytest

from tests.pluggy_runner.expected import EXPECTED_FAILURES
from tests.pykka_runner import sdist, suite

FILES = ("multicall", "hookcaller", "pluginmanager", "invocations", "details", "result", "warnings")
COUNTS = {"1.7.0": 174}
"""How many tests there are, by pluggy's version; another version has as many as are found."""

pytestmark = pytest.mark.timeout(sdist.DOWNLOAD_SECONDS + suite.SUITE_SECONDS + 30)


@pytest.fixture(scope="module", params=["host", "isolates"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, suite.Run]:
    """Run the suite once for each place."""
    folder = tmp_path_factory.mktemp("pluggy")
    try:
        root = sdist.unpacked(folder, "pluggy")
    except sdist.NoSdist as error:
        print(f"pluggy's own tests are not run: {error}")
        pytest.skip(str(error))
    files = [f"testing/test_{name}.py" for name in FILES]
    arguments = ["-p", "pluggy_runner.isolating", "-c", "/dev/null", "--assert=plain", *files]
    found = suite.run(root, folder / "report.xml", arguments, PIACTORS_PLUGGY_IN=request.param)
    return request.param, found


def test_all_of_them_were_run(run: tuple[str, suite.Run]) -> None:
    expected = COUNTS.get(sdist.installed_version("pluggy"))
    assert len(run[1].outcomes) == expected or (expected is None and run[1].outcomes), run[1].output


def test_what_does_not_pass_is_known_and_explained(run: tuple[str, suite.Run]) -> None:
    """In the host all pass; in isolates all but those that cannot, since what crosses a border is a copy."""
    place, found = run
    known = EXPECTED_FAILURES if place == "isolates" else {}
    print(f"{len(found.passed)} of pluggy's {len(found.outcomes)} tests pass with plugins in the {place}")
    surprises = {test: text for test, text in found.not_passed.items() if test not in known}
    assert not surprises, "\n\n".join(f"{test}\n{text}" for test, text in surprises.items())


def test_each_expected_failure_names_a_test(run: tuple[str, suite.Run]) -> None:
    if sdist.installed_version("pluggy") in COUNTS:
        assert EXPECTED_FAILURES.keys() <= {outcome.test for outcome in run[1].outcomes}
