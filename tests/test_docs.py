"""The documents: every command works, every link leads somewhere, every name is the code's."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.newcomer import Block, Newcomer, blocks, repository
from tests.redis_server import redis_server
from tests.template import ROOT

PATHS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
DOCUMENTS = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in PATHS}
BLOCKS = {name: blocks(text) for name, text in DOCUMENTS.items()}
NOT_RUN = [(name, block) for name in BLOCKS for block in BLOCKS[name] if block.marker == "not run"]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository that the address of this one leads to."""
    return repository(tmp_path_factory.mktemp("template"))


@pytest.fixture
def newcomer(tmp_path: Path, template: Path) -> Iterator[Newcomer]:
    """Somebody who reads a document from its beginning."""
    somebody = Newcomer(tmp_path, template)
    yield somebody
    somebody.stop()


@pytest.mark.slow
@pytest.mark.xdist_group("docs")
@pytest.mark.parametrize("name", [name for name in BLOCKS if BLOCKS[name]])
def test_the_commands_work(name: str, newcomer: Newcomer) -> None:
    if "localhost:6379" not in DOCUMENTS[name]:
        follow(newcomer, BLOCKS[name])
        return
    with redis_server() as redis:
        newcomer.words["6379"] = str(redis.port)
        follow(newcomer, BLOCKS[name])


def follow(newcomer: Newcomer, found: list[Block]) -> None:
    for block in found:
        newcomer.follow(block)


@pytest.mark.parametrize(
    ("name", "block"), NOT_RUN, ids=[f"{name}: {block.because}" for name, block in NOT_RUN]
)
def test_what_is_not_run_says_why(name: str, block: Block) -> None:
    assert len(block.because.split()) > 2


@pytest.mark.parametrize("name", BLOCKS)
def test_the_commands_are_shell(name: str) -> None:
    for block in BLOCKS[name]:
        subprocess.run(["bash", "-n"], input=block.code, encoding="utf-8", check=True)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_fence_names_a_language_that_is_understood(name: str) -> None:
    languages = set(re.findall(r"^ *```(.*)\n(?:.*\n)*? *```$", DOCUMENTS[name], re.MULTILINE))
    assert languages <= {"sh", "bash", "console", "text", "json", "python", "toml", "yaml", "ini"}
    # A marker that is misspelt, or stands before no block, does nothing.
    markers = re.findall(r"<!--(.*?)-->", DOCUMENTS[name], re.DOTALL)
    assert len(markers) == sum(bool(block.marker) for block in BLOCKS[name])
