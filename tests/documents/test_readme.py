"""The first commands of README.md, and those of a generated README, run literally."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.documents.test_docs import CLONE
from tests.support.newcomer import Block, Newcomer, blocks, repository
from tests.support.template import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("docs")]


@pytest.fixture
def newcomer(tmp_path: Path) -> Iterator[Newcomer]:
    """A shell in which nothing of this template has been run yet."""
    shell = Newcomer(tmp_path, repository(tmp_path))
    yield shell
    shell.stop()


def commands(readme: Path) -> list[Block]:
    """Return the blocks of commands in a README."""
    return blocks(readme.read_text(encoding="utf-8"))


def test_the_first_commands_need_python_and_git_only(newcomer: Newcomer) -> None:
    newcomer.reject_pip()
    newcomer.run("pip install uv", fails=True)
    newcomer.run(CLONE)
    start, test, *_ = commands(ROOT / "README.md")
    newcomer.follow(start)
    assert re.search(r"\d passed", newcomer.run(test.code))
    # The service is beside the clone, and nothing that git does not ignore is left in it.
    assert newcomer.run("git status --short") == ""
    generated = Path(newcomer.variables["PWD"]).parent / "my-service" / "README.md"
    assert f"uvx cookiecutter {newcomer.variables['PWD']} " in generated.read_text(encoding="utf-8")


def test_a_newcomer_starts_and_tests_a_generated_service(newcomer: Newcomer) -> None:
    newcomer.run("pip install uv && uvx cookiecutter gh:OWNER/REPO && cd my-service")
    readme = Path(newcomer.variables["PWD"]) / "README.md"
    assert "uvx cookiecutter https://github.com/OWNER/REPO " in readme.read_text(encoding="utf-8")
    install, start, test, *_ = commands(readme)
    assert install.code == "pip install uv\n"
    assert re.search(r"\d passed", newcomer.run(test.code))
    newcomer.serve(start.code, "http://localhost:8000/healthz")


def test_the_test_command_installs_its_requirements(newcomer: Newcomer) -> None:
    test = commands(ROOT / "README.md")[-1].code
    assert f"\n{test}" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    newcomer.reject_pip()
    newcomer.run(CLONE)
    # Collecting the tests needs everything that running them needs, and takes seconds.
    newcomer.variables["PYTEST_ADDOPTS"] = "--collect-only"
    assert "test_the_test_command_installs" in newcomer.run(test)
