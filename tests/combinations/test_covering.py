"""The covering array, whose combinations are installed, tested and served, is complete."""

import itertools

from tests.combinations.answers import CHOICES, is_rejected
from tests.combinations.covering import covering_array
from tests.support.options import COMBINATIONS, DEFAULTS, QUESTIONS


def test_every_three_answers_that_are_allowed_together_occur() -> None:
    rows = list(covering_array().values())
    for three in itertools.combinations(CHOICES, 3):
        met = {tuple(answers[question] for question in three) for answers in rows}
        for answers in itertools.product(*(CHOICES[question] for question in three)):
            alone = dict(zip(three, answers, strict=True))
            refused = alone.get("jwt") == "issue" and alone.get("database") == "none"
            assert (answers in met) != refused, alone


def test_every_question_with_choices_is_varied() -> None:
    kinds = {question: type(default) for question, default in QUESTIONS.items()}
    assert list(CHOICES) == [question for question, kind in kinds.items() if kind is not str]


def test_it_contains_the_named_combinations() -> None:
    array = covering_array()
    for name, answers in COMBINATIONS.items():
        assert array[name] == DEFAULTS | answers


def test_no_row_is_a_duplicate_or_invalid() -> None:
    rows = list(covering_array().values())
    assert not any(is_rejected(answers) for answers in rows)
    assert len({tuple(answers.items()) for answers in rows}) == len(rows)
