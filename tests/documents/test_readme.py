"""The commands of a generated README, and of ours for tests, typed by a newcomer."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.newcomer import Block, Newcomer, blocks, repository
from tests.support.template import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("docs")]


@pytest.fixture
def newcomer(tmp_path: Path) -> Iterator[Newcomer]:
    """Somebody who reads a README from its beginning."""
    somebody = Newcomer(tmp_path, repository(tmp_path))
    yield somebody
    somebody.stop()


def commands(readme: Path) -> list[Block]:
    """Return the blocks of commands that a README shows."""
    return blocks(readme.read_text(encoding="utf-8"))


def test_a_newcomer_starts_and_tests_a_generated_service(newcomer: Newcomer) -> None:
    newcomer.run("pip install uv && uvx cookiecutter gh:OWNER/REPO && cd my-service")
    start, test, *_ = commands(Path(newcomer.variables["PWD"]) / "README.md")
    assert re.search(r"\d passed", newcomer.run(test.code))
    newcomer.serve(start.code, "http://localhost:8000/healthz")


def test_the_test_command_sets_up_all_that_it_needs(newcomer: Newcomer) -> None:
    test = commands(ROOT / "README.md")[-1].code
    assert f"\n{test}" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    newcomer.run("git clone -q https://github.com/OWNER/REPO && cd REPO")
    # To collect the tests takes all that to run them takes; to run them all would never end.
    newcomer.variables["PYTEST_ADDOPTS"] = "--collect-only"
    assert "test_the_test_command_sets_up" in newcomer.run(test)
