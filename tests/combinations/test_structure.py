"""Every combination of answers, rendered in memory: what is in a project, and that it fits."""

import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from tests.combinations.answers import CHOICES, every_combination, is_refused
from tests.combinations.covering import covering_array
from tests.combinations.project import wrong
from tests.combinations.rendering import Texts, problems, render
from tests.support.picks import DEFAULTS, Answers


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


def test_the_covering_array(tmp_path: Path) -> None:
    check(covering_array().values(), tmp_path)


# Divided by the answers that most files depend on.
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
    allowed = [answers for answers in combinations if not is_refused(answers)]
    for answers in combinations:
        assert bool(problems(answers)) == is_refused(answers)
    check(allowed, tmp_path)
    record_property("refused", len(combinations) - len(allowed))
    record_property("generated", len(allowed))
    record_property("checked", len(allowed))


def check(combinations: Iterable[Answers], directory: Path) -> None:
    """Render combinations, and check them one by one, and their style together."""
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
    """Say for each problem how many combinations have it, and which is the first."""
    return "\n".join(
        f"{problem} ({len(where)}, such as {changes(where[0])})" for problem, where in found.items()
    )


def changes(answers: Answers) -> str:
    """Show the answers that are not the defaults."""
    others = [it for it in answers.items() if it not in DEFAULTS.items()]
    return " ".join(f"{question}={answer}" for question, answer in others) or "the defaults"
