"""An option is wired by a few lines in a few files."""

import pytest

from tests.support.wiring import composition_lines, conditions_of


@pytest.mark.parametrize("question", ["use_gzip", "use_security_headers", "use_example_middleware"])
def test_a_simple_option_takes_seven_conditions_in_four_files(question: str) -> None:
    found = conditions_of(question)
    assert set(found) == {".env.example", "README.md", "app/config.py", "app/stack.py"}
    assert found.total() <= 7


def test_the_composition_stays_short() -> None:
    assert composition_lines() < 374
