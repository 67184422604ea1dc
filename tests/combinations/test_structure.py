"""Every combination of answers, rendered in memory: what is in a project, and that it fits."""

import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.combinations.answers import CHOICES, every_combination, is_refused
from tests.combinations.project import wrong
from tests.combinations.rendering import Texts, problems, render
from tests.picks import DEFAULTS, Answers

pytestmark = pytest.mark.slow


class Distinct:
    """What the files of many projects say, each text of a file once."""

    def __init__(self) -> None:
        self.numbers: defaultdict[str, dict[str, int]] = defaultdict(dict)

    def add(self, texts: Texts) -> None:
        for path, text in texts.items():
            numbers = self.numbers[path]
            numbers.setdefault(text, len(numbers))

    def write(self, directory: Path) -> None:
        """Write a project with the first text of each file, and in it one with the second, ..."""
        for path, numbers in self.numbers.items():
            for text, number in numbers.items():
                target = directory / (str(number) if number else "") / path
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(text, encoding="utf-8", newline="")


# Divided by the answers that most files depend on.
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
    found: defaultdict[str, list[Answers]] = defaultdict(list)
    distinct = Distinct()
    generated = refused = 0
    for answers in every_combination(jwt=jwt, database=database, background_tasks=background_tasks):
        assert bool(problems(answers)) == is_refused(answers)
        if is_refused(answers):
            refused += 1
            continue
        texts = render(answers)
        distinct.add(texts)
        generated += 1
        for problem in wrong(texts, answers):
            found[problem].append(answers)
    assert not found, report(found)
    distinct.write(tmp_path)
    for command in (["check"], ["format", "--check"]):
        result = subprocess.run(
            [sys.executable, "-m", "ruff", *command, "--quiet", "--no-cache", str(tmp_path)],
            capture_output=True,
            encoding="utf-8",
        )
        assert result.returncode == 0, result.stdout + result.stderr
    record_property("refused", refused)
    record_property("generated", generated)
    record_property("checked", generated)


def report(found: dict[str, list[Answers]]) -> str:
    """Say for each problem how many combinations have it, and which is the first."""
    return "\n".join(
        f"{problem} ({len(where)}, such as {changes(where[0])})" for problem, where in found.items()
    )


def changes(answers: Answers) -> str:
    """Show the answers that are not the defaults."""
    return " ".join(
        f"{question}={answer}"
        for question, answer in answers.items()
        if answer != DEFAULTS[question]
    )
