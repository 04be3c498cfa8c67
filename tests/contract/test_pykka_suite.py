"""pykka's own tests, from its sdist, run with `ProcessActor`, `piactors.Future` and events for processes.

The sdist comes through pip, or from the path in the environment variable PIACTORS_PYKKA_SDIST.
"""

from __future__ import annotations

import pytest

from tests.pykka_runner import sdist, suite
from tests.pykka_runner.expected import EXPECTED_FAILURES

LEAST_PASSED = 0.88
COUNTS = {"4.5.0": 144}
"""How many tests the suite has, by pykka's version; another version has as many as are found."""

pytestmark = pytest.mark.timeout(sdist.DOWNLOAD_SECONDS + suite.SUITE_SECONDS + 30)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> suite.Run:
    """Run the suite once."""
    folder = tmp_path_factory.mktemp("pykka")
    try:
        root = sdist.unpacked(folder)
    except sdist.NoSdist as error:
        print(f"pykka's own tests are not run: {error}")
        pytest.skip(str(error))
    return suite.run(root, folder / "report.xml")


def test_the_whole_suite_was_run(run: suite.Run) -> None:
    expected = COUNTS.get(sdist.installed_version())
    assert len(run.outcomes) == expected or (expected is None and run.outcomes), run.output


def test_at_least_88_percent_pass(run: suite.Run) -> None:
    share = len(run.passed) / len(run.outcomes)
    print(f"{len(run.passed)} of pykka's {len(run.outcomes)} tests pass: {share:.1%}")
    assert share >= LEAST_PASSED, run.output


def test_what_does_not_pass_is_known_and_explained(run: suite.Run) -> None:
    surprises = {test: text for test, text in run.not_passed.items() if test not in EXPECTED_FAILURES}
    for test in sorted(EXPECTED_FAILURES.keys() & run.passed):
        print(f"passes, though it need not: {test} ({EXPECTED_FAILURES[test]})")
    assert not surprises, "\n\n".join(f"{test}\n{text}" for test, text in surprises.items())


def test_each_expected_failure_names_a_test(run: suite.Run) -> None:
    if sdist.installed_version() in COUNTS:
        assert EXPECTED_FAILURES.keys() <= {outcome.test for outcome in run.outcomes}
