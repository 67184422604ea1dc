"""The files of a project, and the answers that are rejected."""

import itertools
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Bake, Projects, Rejected
from tests.support.options import (
    ALWAYS,
    COMBINATIONS,
    DEFAULTS,
    OPTIONS,
    Answers,
    files_of,
)
from tests.support.template import (
    cookiecutter,
    files_below,
    load_hook,
    template_files,
    with_derived,
)

REJECTED: dict[str, tuple[Answers, str]] = {
    "blank name": ({"project_name": " "}, "project_name: must not be blank; enter a name"),
    "no name": ({"project_slug": "up~"}, "project_slug: 'up~' is not a valid name for a directory"),
    "device": ({"project_slug": "nul"}, "project_slug: 'nul' is the name of a device on Windows"),
    "dependency": (
        {"project_name": "FastAPI"},
        "project_slug: 'fastapi' is a package that the service depends on; choose another",
    ),
    "long": ({"description": "a" * 201}, "description: has 201 characters; use at most 200"),
    "control character": ({"author_name": "a\x07"}, "contains unsafe characters (U+0007); remove"),
    "no address": ({"author_email": "me"}, "author_email: 'me' is not an e-mail address; enter an"),
}


@pytest.mark.parametrize("combination", COMBINATIONS)
def test_a_project_has_exactly_the_files_of_the_chosen_options(
    projects: Projects, combination: str
) -> None:
    project = projects(combination)
    assert files_below(project) == files_of(COMBINATIONS[combination])
    directories = [path for path in project.rglob("*") if path.is_dir()]
    assert all(any(directory.iterdir()) for directory in directories)


def test_the_template_has_the_stated_files() -> None:
    owned = set().union(*(row.files for row in OPTIONS))
    assert template_files() == (ALWAYS | owned) - {".env"}


def test_the_manifest_has_the_stated_files() -> None:
    rows = load_hook("post_gen_project", DEFAULTS).manifest(with_derived(DEFAULTS))
    paths = [path for _, paths in rows for path in paths]
    assert len(paths) == len(set(paths))
    assert set(paths) == set().union(*(row.files for row in OPTIONS))


def test_no_file_has_two_owners() -> None:
    for one, other in itertools.combinations(OPTIONS, 2):
        assert not one.files & other.files
        assert not one.files & ALWAYS


@pytest.mark.parametrize(("answers", "message"), REJECTED.values(), ids=REJECTED)
def test_a_rejection_says_what_to_do(bake: Bake, answers: Answers, message: str) -> None:
    with pytest.raises(Rejected) as refused:
        bake(**answers)
    assert message in str(refused.value)


def test_a_rejection_leaves_nothing_behind(tmp_path: Path) -> None:
    bad = ["project_slug=nul", "author_email=me"]
    result = cookiecutter("--no-input", *bad, output=tmp_path / "out")
    assert result.returncode == 1
    assert "project_slug: " in result.stderr
    assert "author_email: " in result.stderr
    assert files_below(tmp_path / "out") == set()
    assert not (tmp_path / "out" / "nul").exists()


@pytest.mark.parametrize(
    ("answers", "error"),
    [
        ({"use_corse": True}, KeyError),
        ({"use_cors": "y"}, TypeError),
        ({"project_name": True}, TypeError),
        ({"ci": "jenkins"}, ValueError),
    ],
)
def test_the_tests_cannot_misspell_an_answer(
    bake: Bake, answers: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        bake(**answers)
