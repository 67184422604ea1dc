"""Projects that are rendered in memory equal those of Cookiecutter, byte for byte."""

import pytest

from tests.combinations.rendering import difference
from tests.conftest import Projects
from tests.support.options import COMBINATIONS, DEFAULTS


@pytest.mark.parametrize("combination", COMBINATIONS)
def test_the_rendering_equals_that_of_cookiecutter(projects: Projects, combination: str) -> None:
    assert difference(DEFAULTS | COMBINATIONS[combination], projects(combination)) == set()
