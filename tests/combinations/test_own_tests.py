"""Projects of the covering array: their own tests pass and cover them completely."""

from collections.abc import Callable

import pytest

from tests.combinations.covering import covering_array
from tests.conftest import Bake
from tests.support.options import COMBINATIONS
from tests.support.service import run_own_tests

pytestmark = pytest.mark.slow

ROWS = [
    # The large projects take a minute each.
    pytest.param(name, marks=[] if name in COMBINATIONS else pytest.mark.weekly)
    for name in covering_array()
]


@pytest.mark.parametrize("name", ROWS)
def test_they_pass_and_cover_it(
    install: Bake, name: str, record_property: Callable[[str, object], None]
) -> None:
    project = install(**covering_array()[name])
    run_own_tests(project)
    record_property("tested", 1)
