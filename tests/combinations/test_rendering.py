"""What is rendered in memory is what Cookiecutter writes, byte for byte."""

import pytest

from tests.combinations.rendering import difference
from tests.conftest import Projects
from tests.support.picks import COMBINATIONS, DEFAULTS


@pytest.mark.parametrize("combination", COMBINATIONS)
def test_memory_holds_what_cookiecutter_writes(projects: Projects, combination: str) -> None:
    assert difference(DEFAULTS | COMBINATIONS[combination], projects(combination)) == set()
