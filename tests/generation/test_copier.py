"""Copier generates the same projects as Cookiecutter, and rejects the same answers."""

import random
import re
from pathlib import Path
from typing import Any

import pytest
from copier import run_copy

from tests.combinations.answers import CHOICES, is_rejected
from tests.combinations.covering import covering_array
from tests.combinations.rendering import difference, problems
from tests.generation.test_answers import fuzz, typed
from tests.support import copier_config
from tests.support.options import COMBINATIONS, DEFAULTS, Answers, files_of
from tests.support.template import (
    COPIER_ANSWERS,
    TREE,
    copy_checkout,
    files_below,
    is_copied,
    template_files,
)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The template outside of any repository, so that Copier need not clone it."""
    directory = tmp_path_factory.mktemp("template")
    copy_checkout(directory)
    return directory


def copy(template: Path, project: Path, answers: Answers) -> None:
    """Generate a project with Copier, without trusting the template."""
    data: dict[str, Any] = dict(answers)
    run_copy(str(template), project, data=data, defaults=True, quiet=True, overwrite=True)


def unlike(template: Path, answers: Answers, project: Path) -> set[str]:
    """Return the files in which a project is not what Cookiecutter generates from a template."""
    return difference(answers | {"_template": str(template)}, project)


def test_the_questions_are_up_to_date() -> None:
    written = copier_config.PATH.read_text(encoding="utf-8")
    assert written == copier_config.text(), "run: uv run python -m tests.support.copier_config"


def test_files_that_cookiecutter_copies_hold_nothing_that_copier_would_render() -> None:
    for path in filter(is_copied, template_files()):
        text = (TREE / path).read_text(encoding="utf-8")
        assert not re.search(r"{{|{#|# {%", text), path


@pytest.mark.parametrize("combination", COMBINATIONS)
def test_a_combination_is_the_same(template: Path, tmp_path: Path, combination: str) -> None:
    answers = DEFAULTS | COMBINATIONS[combination]
    copy(template, tmp_path / "project", answers)
    assert unlike(template, answers, tmp_path / "project") == set()
    assert files_below(tmp_path / "project") == files_of(answers) - {".env"}
    assert (tmp_path / "project" / COPIER_ANSWERS).exists()
    assert not [
        path
        for path in (tmp_path / "project").rglob("*")
        if path.is_dir() and not list(path.iterdir())
    ]


@pytest.mark.slow
def test_the_covering_array_is_the_same(template: Path, tmp_path: Path) -> None:
    for name, answers in covering_array().items():
        copy(template, tmp_path / name, answers)
        assert unlike(template, answers, tmp_path / name) == set(), name


@pytest.mark.parametrize("examples", [20, pytest.param(500, marks=pytest.mark.slow)])
def test_any_answers_are_the_same_or_rejected(
    template: Path, tmp_path: Path, examples: int
) -> None:
    generator = random.Random(0)
    seen = {"rejected": 0, "generated": 0}

    def check(texts: dict[str, str]) -> None:
        options = {question: generator.choice(choices) for question, choices in CHOICES.items()}
        answers = DEFAULTS | options | texts
        if is_rejected(answers):
            answers["database"] = "sqlite"
        number = sum(seen.values())
        project = tmp_path / str(number)
        if problems(answers):
            seen["rejected"] += 1
            with pytest.raises(ValueError, match="Validation error for question"):
                copy(template, project, answers)
            assert not project.exists()
        else:
            seen["generated"] += 1
            copy(template, project, answers)
            assert unlike(template, answers, project) == set()

    fuzz(examples, typed, check)
    assert min(seen.values()) > examples / 10


def test_users_without_a_database_are_rejected(template: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="sqlite or postgresql"):
        copy(template, tmp_path / "project", {"jwt": "issue", "database": "none"})
    assert not (tmp_path / "project").exists()


@pytest.mark.parametrize(
    ("name", "slug"),
    [("My Service", "my-service"), ("Orders & Co. 2", "orders-co-2"), ("Їжак", "service")],
)
def test_the_slug_follows_the_name(template: Path, tmp_path: Path, name: str, slug: str) -> None:
    copy(template, tmp_path / "project", {"project_name": name})
    assert f'name = "{slug}"' in (tmp_path / "project/pyproject.toml").read_text(encoding="utf-8")


def test_an_existing_env_file_is_left_alone(template: Path, tmp_path: Path) -> None:
    (tmp_path / "project").mkdir()
    (tmp_path / "project/.env").write_text("SECRET=kept\n", encoding="utf-8")
    copy(template, tmp_path / "project", {})
    assert (tmp_path / "project/.env").read_text(encoding="utf-8") == "SECRET=kept\n"
