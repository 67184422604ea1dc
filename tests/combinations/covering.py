"""A covering array of strength 3: every three answers that are allowed together occur in it."""

import itertools
import random
from collections.abc import Iterator
from functools import cache

from tests.combinations.answers import CHOICES, is_rejected
from tests.support.options import COMBINATIONS, DEFAULTS, Answer, Answers

Triple = frozenset[tuple[str, Answer]]
# More candidates result in fewer rows, but delay every collection of tests.
CANDIDATES = 3


def allowed(answers: Answers) -> bool:
    """Return whether some answers are allowed together for some answers to the other questions."""
    return not is_rejected(DEFAULTS | {"database": "sqlite"} | answers)


def triples() -> list[Triple]:
    """Return every three answers that are allowed together."""
    return [
        frozenset(zip(questions, answers, strict=True))
        for questions in itertools.combinations(CHOICES, 3)
        for answers in itertools.product(*(CHOICES[question] for question in questions))
        if allowed(dict(zip(questions, answers, strict=True)))
    ]


def triples_of(answers: Answers) -> Iterator[Triple]:
    """Yield every three answers of a combination."""
    chosen = [(question, answers[question]) for question in CHOICES]
    return map(frozenset, itertools.combinations(chosen, 3))


def candidate(left: list[Triple], generator: random.Random) -> Answers:
    """Return a combination with one of the triples in `left`, and with many others of them."""
    answers: Answers = dict(generator.choice(left))
    missing = set(left)
    for question in generator.sample(list(CHOICES), len(CHOICES)):
        pairs = list(itertools.combinations(answers.items(), 2))
        choices = [it for it in CHOICES[question] if allowed(answers | {question: it})]
        if question not in answers:
            answers[question] = max(
                choices,
                key=lambda it: sum(frozenset((*pair, (question, it))) in missing for pair in pairs),
            )
    return answers


@cache
def covering_array() -> dict[str, Answers]:
    """Return combinations by name: `COMBINATIONS`, and others until all triples occur."""
    generator = random.Random(0)
    array = {name: DEFAULTS | answers for name, answers in COMBINATIONS.items()}
    covered = {triple for answers in array.values() for triple in triples_of(answers)}
    while left := [triple for triple in triples() if triple not in covered]:
        answers = max(
            (candidate(left, generator) for _ in range(CANDIDATES)),
            key=lambda it: len(set(triples_of(it)) - covered),
        )
        array[f"triples-{len(array)}"] = DEFAULTS | answers
        covered.update(triples_of(answers))
    return array
