"""Every combination of the answers that shape a project."""

import itertools
from collections.abc import Iterator

from tests.support.picks import DEFAULTS, QUESTIONS, Answer, Answers

# What each question that is not free text can be answered with.
CHOICES: dict[str, list[Answer]] = {
    question: list(default) if isinstance(default, list) else [False, True]
    for question, default in QUESTIONS.items()
    if not isinstance(default, str)
}


def every_combination(**fixed: Answer) -> Iterator[Answers]:
    """Yield all answers that there are, in full, but for those that are fixed."""
    choices = CHOICES | {question: [answer] for question, answer in fixed.items()}
    for answers in itertools.product(*choices.values()):
        yield DEFAULTS | dict(zip(choices, answers, strict=True))


def is_refused(answers: Answers) -> bool:
    """Whether the template promises to refuse the answers: who issues tokens keeps users."""
    return answers["jwt"] == "issue" and answers["database"] == "none"
