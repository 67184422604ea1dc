"""Projects in environments with exactly their dependencies, in the lowest and newest versions.

`tests/service/test_generated_project.py` tests further combinations with the newest versions.
"""

from pathlib import Path

import pytest

from tests.conftest import Bake
from tests.support.options import COMBINATIONS, EVERYTHING, Answers
from tests.support.service import uv

pytestmark = pytest.mark.slow

# The answers that exclude those in `EVERYTHING`.
OTHERS: Answers = {"jwt": "verify", "database": "postgresql", "background_tasks": "fastapi"}
PROJECTS: dict[str, Answers] = {
    "default": COMBINATIONS["default"],
    "everything": EVERYTHING,
    "everything else": EVERYTHING | OTHERS,
}


@pytest.mark.parametrize(
    ("name", "resolution"),
    [*((name, "lowest-direct") for name in PROJECTS), ("everything else", "highest")],
)
def test_its_own_tests_pass(bake: Bake, name: str, resolution: str) -> None:
    project: Path = bake(**PROJECTS[name])
    uv(project, "sync", f"--resolution={resolution}")
    uv(project, "run", "--no-sync", "pytest", "-q")
