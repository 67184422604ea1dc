"""Every combination of the answers that shape a project."""

import itertools
from collections.abc import Iterator

from tests.support.options import DEFAULTS, QUESTIONS, Answer, Answers

# The possible answers to each question that is not answered with a text.
CHOICES: dict[str, list[Answer]] = {
    question: list(default) if isinstance(default, list) else [False, True]
    for question, default in QUESTIONS.items()
    if not isinstance(default, str)
}


def every_combination(**fixed: Answer) -> Iterator[Answers]:
    """Yield every combination of answers. `fixed`: questions with one answer only."""
    choices = CHOICES | {question: [answer] for question, answer in fixed.items()}
    for answers in itertools.product(*choices.values()):
        yield DEFAULTS | dict(zip(choices, answers, strict=True))


def is_rejected(answers: Answers) -> bool:
    """Return whether the template must reject the answers: issuing tokens needs a database."""
    return answers["jwt"] == "issue" and answers["database"] == "none"
