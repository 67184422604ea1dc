"""Every combination of answers, rendered in memory: its files are complete and consistent."""

import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from tests.combinations.answers import CHOICES, every_combination, is_rejected
from tests.combinations.covering import covering_array
from tests.combinations.project import wrong
from tests.combinations.rendering import Texts, problems, render
from tests.support.options import DEFAULTS, Answers


class Distinct:
    """The distinct contents of each file in many projects."""

    def __init__(self) -> None:
        self.numbers: defaultdict[str, dict[str, int]] = defaultdict(dict)

    def add(self, texts: Texts) -> None:
        for path, text in texts.items():
            numbers = self.numbers[path]
            numbers.setdefault(text, len(numbers))

    def write(self, directory: Path) -> None:
        """Write a project with the first content of each file, and further ones inside it."""
        for path, numbers in self.numbers.items():
            for text, number in numbers.items():
                target = directory / (str(number) if number else "") / path
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(text, encoding="utf-8", newline="")


def test_the_covering_array(tmp_path: Path) -> None:
    check(covering_array().values(), tmp_path)


# Parametrized by the questions on which most files depend.
@pytest.mark.slow
@pytest.mark.parametrize("jwt", CHOICES["jwt"])
@pytest.mark.parametrize("database", CHOICES["database"])
@pytest.mark.parametrize("background_tasks", CHOICES["background_tasks"])
def test_every_combination(
    jwt: str,
    database: str,
    background_tasks: str,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    combinations = list(
        every_combination(jwt=jwt, database=database, background_tasks=background_tasks)
    )
    allowed = [answers for answers in combinations if not is_rejected(answers)]
    for answers in combinations:
        assert bool(problems(answers)) == is_rejected(answers)
    check(allowed, tmp_path)
    record_property("refused", len(combinations) - len(allowed))
    record_property("generated", len(allowed))
    record_property("checked", len(allowed))


def check(combinations: Iterable[Answers], directory: Path) -> None:
    """Render combinations, check each of them, and check the style of all distinct files."""
    found: defaultdict[str, list[Answers]] = defaultdict(list)
    distinct = Distinct()
    for answers in combinations:
        texts = render(answers)
        distinct.add(texts)
        for problem in wrong(texts, answers):
            found[problem].append(answers)
    assert not found, report(found)
    distinct.write(directory)
    for command in (["check"], ["format", "--check"]):
        result = subprocess.run(
            [sys.executable, "-m", "ruff", *command, "--quiet", "--no-cache", str(directory)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
        )
        assert result.returncode == 0, result.stdout


def report(found: dict[str, list[Answers]]) -> str:
    """Return a message with the number of combinations that have each problem, and the first."""
    return "\n".join(
        f"{problem} ({len(where)}, such as {changes(where[0])})" for problem, where in found.items()
    )


def changes(answers: Answers) -> str:
    """Return the answers that differ from the defaults, as a text."""
    others = [it for it in answers.items() if it not in DEFAULTS.items()]
    return " ".join(f"{question}={answer}" for question, answer in others) or "the defaults"
