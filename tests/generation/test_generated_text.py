"""The contents of generated files."""

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.conftest import Bake, Projects
from tests.support.options import COMBINATIONS, NOTHING, OPTIONS, Answers, Option, chosen_options
from tests.support.template import cookiecutter, files_below, typing

# Expressions that GitHub evaluates.
EXPRESSION = re.compile(r"\$\{\{.*?\}\}")
# In the README: the answers to all questions, also to those about options that are off.
REPRODUCTION = re.compile(r"^uvx c(ookiecutter|ruft link) .*?(?=^```)", re.DOTALL | re.MULTILINE)
JINJA = re.compile(r"\{\{|\{%|%\}|cookiecutter\.\w")

HOSTILE: Answers = {
    "project_name": """Їжак's "API" 🚀 \\ ''' \\n""",
    "description": """\\"quoted\\" 'text' 👩‍💻 <b>&amp;</b> $(id) ${HOME} %s | `code` \\""",
    "author_name": """O'Brien "Bob" \\ Їжак""",
}


def texts(project: Path) -> dict[str, str]:
    """Return the contents of the files of a project by path, with their line endings."""
    return {
        path: (project / path).read_bytes().decode("utf-8") for path in sorted(files_below(project))
    }


@pytest.mark.parametrize("combination", COMBINATIONS)
def test_no_jinja_is_left(projects: Projects, combination: str) -> None:
    for path, text in texts(projects(combination)).items():
        assert not JINJA.search(EXPRESSION.sub("", text)), path


def mentions(project: Path, rows: Iterable[Option]) -> set[tuple[str, str]]:
    """Return each file of a project with each word of the rows in its path or text."""
    found = {
        path: f"{path}\n{REPRODUCTION.sub('', text)}".lower()
        for path, text in texts(project).items()
    }
    words = {word for row in rows for word in row.words}
    return {(path, word) for path in found for word in words if word.lower() in found[path]}


@pytest.mark.parametrize("combination", COMBINATIONS)
def test_no_file_mentions_an_option_that_was_not_chosen(
    projects: Projects, combination: str
) -> None:
    taken = chosen_options(COMBINATIONS[combination])
    left_out = [row for row in OPTIONS if row not in taken]
    assert sorted(mentions(projects(combination), left_out)) == []


@pytest.mark.parametrize("row", OPTIONS, ids=lambda row: f"{row}-{row.words[0]}")
def test_every_word_occurs_if_its_option_is_chosen(
    bake: Bake, projects: Projects, row: Option
) -> None:
    if row.only:
        required = {question: answers[0] for question, answers in row.only}
        project = bake(**NOTHING | {row.question: row.answers[0]} | required)
    else:
        project = projects(f"{row.question}={row.answers[0]}")
    assert {word for _, word in mentions(project, [row])} == set(row.words)


@pytest.mark.parametrize("combination", COMBINATIONS)
def test_lines_have_unix_endings_and_no_trailing_white_space(
    projects: Projects, combination: str
) -> None:
    for path, text in texts(projects(combination)).items():
        assert "\r" not in text, path
        assert text == "" or re.search(r"[^\n]\n\Z", text), path
        assert not re.search(r"[ \t]\n", text), path


def test_projects_pass_ruff(projects: Projects) -> None:
    directories = [str(projects(combination)) for combination in COMBINATIONS]
    for command in (["check"], ["format", "--check"]):
        subprocess.run(
            [sys.executable, "-m", "ruff", *command, "--no-cache", *directories], check=True
        )


def check_texts(project: Path, answers: Answers) -> None:
    """Check that the metadata and the README of a project contain the answers."""
    metadata = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert metadata["description"] == answers["description"]
    assert metadata["authors"][0]["name"] == answers["author_name"]
    readme = (project / "README.md").read_text(encoding="utf-8")
    assert readme.startswith(f"# {answers['project_name']}\n\n{answers['description']}\n")


@pytest.mark.parametrize("combination", ["nothing", "everything"])
def test_hostile_text_is_kept_unchanged(bake: Bake, combination: str) -> None:
    project = bake(**COMBINATIONS[combination], **HOSTILE)
    check_texts(project, HOSTILE)


def test_jinja_is_kept_unchanged(tmp_path: Path) -> None:
    # Cookiecutter renders answers on the command line, but not those at its prompts.
    typed = HOSTILE | {"project_name": "{{ 7 * 7 }} {% x %}", "description": "# {% if %} {# }}"}
    result = cookiecutter(output=tmp_path / "out", typed=typing(typed))
    assert result.returncode == 0, result.stderr
    check_texts(tmp_path / "out" / "7-7-x", typed)
