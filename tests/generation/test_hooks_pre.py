"""The answers that the hook pre_gen_project rejects, and those that it accepts."""

import ast
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.options import DEFAULTS, QUESTIONS
from tests.support.template import hook_source, imports, load_hook, rendered_hook

HOOK = load_hook("pre_gen_project", DEFAULTS)
TEXTS = [question for question, default in QUESTIONS.items() if isinstance(default, str)]
BOOLEANS = [question for question, default in QUESTIONS.items() if isinstance(default, bool)]
CHOICES = [question for question, default in QUESTIONS.items() if isinstance(default, list)]
FREE_TEXTS = ["project_name", "description", "author_name"]

HARMLESS = {
    "quotes": """ "double" 'single' `back` """,
    "triple quotes": "''' \"\"\" '''",
    "backslashes": r"\ \\ \n \u0027 \x00 trailing \\"[:-1],
    "jinja": "{{ 7 * 7 }} {% raw %} {# # {% if %} }} %}",
    "code": "'''); import os; os.abort() #",
    "markup": "<b>&amp;</b> [bold] ${HOME} $(id) %s {0}",
    "emoji": "🚀 👩‍💻 🏳️‍🌈",
    "Cyrillic": "Сервіс «Їжак», привіт",
    "right to left": "שירות خدمة",
    "200 characters": "я" * 200,
}
UNSAFE = {
    "NUL": "\x00",
    "tab": "\t",
    "line feed": "\n",
    "escape": "\x1b",
    "DEL": "\x7f",
    "next line": "\x85",
    "line separator": "\u2028",
    "paragraph separator": "\u2029",
    "left-to-right mark": "\u200e",
    "right-to-left mark": "\u200f",
    "embedding": "\u202a",
    "override": "\u202e",
    "isolate": "\u2066",
    "pop isolate": "\u2069",
    "Arabic letter mark": "\u061c",
    "high surrogate": "\ud83d",
    "low surrogate": "\udc80",
}


def problems(**changed: object) -> list[str]:
    """Return the problems that the hook finds in the defaults with some answers changed."""
    found: list[str] = HOOK.problems({**DEFAULTS, **changed}, [])
    return found


def test_the_source_is_python_with_few_imports() -> None:
    ast.parse(hook_source("pre_gen_project"))
    assert imports(hook_source("pre_gen_project")) == {"json", "os", "sys"}


def test_the_defaults_are_accepted() -> None:
    assert problems() == []


@pytest.mark.parametrize("text", HARMLESS.values(), ids=HARMLESS)
@pytest.mark.parametrize("question", FREE_TEXTS)
def test_harmless_text_is_accepted_unchanged(question: str, text: str) -> None:
    answers = {**DEFAULTS, question: text}
    hook = load_hook("pre_gen_project", answers)
    assert json.loads(hook.ANSWERS) == answers
    assert problems(**{question: text}) == []


@pytest.mark.parametrize("character", UNSAFE.values(), ids=UNSAFE)
@pytest.mark.parametrize("question", TEXTS)
def test_unsafe_characters_are_rejected(question: str, character: str) -> None:
    [problem] = problems(**{question: f"a{character}b"})
    assert problem.startswith(f"{question}: ")
    assert f"U+{ord(character):04X}" in problem
    assert "; remove them" in problem


@pytest.mark.parametrize("question", FREE_TEXTS)
def test_long_text_is_rejected(question: str) -> None:
    [problem] = problems(**{question: "a" * 201})
    assert problem == f"{question}: has 201 characters; use at most 200"


@pytest.mark.parametrize("name", ["", " ", "\u3000\xa0"])
def test_a_blank_name_is_rejected(name: str) -> None:
    assert problems(project_name=name) == ["project_name: must not be blank; enter a name"]


@pytest.mark.parametrize("question", ["description", "author_name", "author_email"])
def test_other_texts_may_be_empty(question: str) -> None:
    assert problems(**{question: ""}) == []


@pytest.mark.parametrize(
    "slug", ["a", "9", "my-service", "My_Service.2", "a--b", "app", "a" * 64, "console", "con-1"]
)
def test_valid_slugs_are_accepted(slug: str) -> None:
    assert problems(project_slug=slug) == []


@pytest.mark.parametrize(
    "slug",
    [
        *["", " ", ".", "..", "../up", "a/b", "/etc", "a\\b", "C:x", "~", ".git"],
        *["-a", "a-", "_a", "a.", "a b", " a", "a:b", "a*", "a'b", 'a"b', "a;b", "$a", "{{a}}"],
        *["послуга", "ß", "\uff41", "\u212a", "\u0663", "a🚀"],
    ],
)
def test_invalid_slugs_are_rejected(slug: str) -> None:
    [problem] = problems(project_slug=slug)
    assert problem.startswith("project_slug: ")
    assert "; use ASCII letters, digits" in problem


@pytest.mark.parametrize("slug", ["con", "NUL", "aux.service", "com1", "LPT9.txt", "prn"])
def test_names_of_windows_devices_are_rejected(slug: str) -> None:
    [problem] = problems(project_slug=slug)
    assert "is the name of a device on Windows; choose another name" in problem


@pytest.mark.parametrize(
    "slug", ["fastapi", "FastAPI", "starlette", "Pydantic_Settings", "pydantic.-_core", "pytest"]
)
def test_names_of_dependencies_are_rejected(slug: str) -> None:
    [problem] = problems(project_slug=slug)
    assert "is a package that the service depends on; choose another name" in problem


def test_a_long_slug_is_rejected() -> None:
    [problem] = problems(project_slug="a" * 65)
    assert problem == "project_slug: has 65 characters; use at most 64"


@pytest.mark.parametrize("address", ["you@example.com", "a+b@localhost", "імʼя@приклад.укр"])
def test_valid_addresses_are_accepted(address: str) -> None:
    assert problems(author_email=address) == []


@pytest.mark.parametrize(
    "address",
    ["you", "@", "a@", "@b", "a@b@c", "a b@c", " a@b", "a@b ", "<a@b>", 'a"@b', "a\\@b", "a@b,c@d"],
)
def test_invalid_addresses_are_rejected(address: str) -> None:
    [problem] = problems(author_email=address)
    assert "is not an e-mail address; enter an address such as you@example.com" in problem


@pytest.mark.parametrize("answer", ["n", "y", "False", "", 0, 1, None, []])
@pytest.mark.parametrize("question", BOOLEANS)
def test_other_values_than_booleans_are_rejected(question: str, answer: object) -> None:
    [problem] = problems(**{question: answer})
    assert problem.startswith(f"{question}: {answer!r} is not a boolean; answer yes or no")
    assert "Cookiecutter 2.7" in problem


@pytest.mark.parametrize("answer", ["other", "NONE", "", None, True, ["none"], {}])
@pytest.mark.parametrize("question", CHOICES)
def test_other_values_than_the_choices_are_rejected(question: str, answer: object) -> None:
    [problem] = problems(**{question: answer})
    assert problem.startswith(f"{question}: {answer!r} is not a choice; choose one of: ")
    assert problem.endswith(", ".join(HOOK.CHOICES[question]))


@pytest.mark.parametrize("answer", [None, 7, True, ["a"], {"a": 1}])
@pytest.mark.parametrize("question", TEXTS)
def test_other_values_than_text_are_rejected(question: str, answer: object) -> None:
    assert problems(**{question: answer}) == [
        f"{question}: {answer!r} is not a text; answer with a text"
    ]


def test_issuing_tokens_needs_a_database() -> None:
    [problem] = problems(jwt="issue")
    assert problem.startswith("jwt: 'issue' needs a database; answer database=sqlite or ")


def test_every_question_must_be_answered() -> None:
    assert [problem.partition(":")[0] for problem in HOOK.problems({}, [])] == [
        *TEXTS,
        *BOOLEANS,
        *CHOICES,
    ]


@pytest.mark.parametrize("directory", [(), (".git",)])
def test_empty_directories_are_accepted(directory: tuple[str, ...]) -> None:
    assert HOOK.problems(DEFAULTS, list(directory)) == []


@pytest.mark.parametrize("directory", [("README.md",), (".git", ".env"), (".gitignore",)])
def test_other_directories_are_rejected(directory: tuple[str, ...]) -> None:
    [problem] = HOOK.problems(DEFAULTS, list(directory))
    assert "the directory of this name is not empty" in problem
    assert "copier update" in problem


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=4,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from(list(QUESTIONS)), json_values))
def test_every_problem_is_one_readable_line(changed: dict[str, Any]) -> None:
    answers = {**DEFAULTS, **changed}
    hook = load_hook("pre_gen_project", answers)
    assert json.loads(hook.ANSWERS) == answers
    for line in hook.problems(answers, []):
        assert line.partition(": ")[0] in QUESTIONS
        assert line.isascii()
        assert line.isprintable()
        assert "; " in line


def run(answers: dict[str, Any], directory: Path) -> subprocess.CompletedProcess[str]:
    """Run the hook as Cookiecutter does."""
    script = directory.parent / "hook.py"
    script.write_text(rendered_hook("pre_gen_project", answers), encoding="utf-8")
    directory.mkdir()
    return subprocess.run(
        [sys.executable, str(script)], cwd=directory, capture_output=True, encoding="utf-8"
    )


def test_valid_answers_print_nothing(tmp_path: Path) -> None:
    result = run(DEFAULTS, tmp_path / "new")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_all_problems_are_reported_at_once(tmp_path: Path) -> None:
    bad = {"project_name": "\ud800", "project_slug": "../up", "use_cors": "n", "ci": "jenkins"}
    result = run({**DEFAULTS, **bad}, tmp_path / "new")
    assert (result.returncode, result.stdout) == (1, "")
    first, *lines = result.stderr.splitlines()
    assert first == "ERROR: No project was generated. Invalid answers:"
    assert [line.partition(":")[0] for line in lines] == list(bad)
    assert list((tmp_path / "new").iterdir()) == []


def test_an_unexpected_error_is_reported_on_one_line(tmp_path: Path) -> None:
    script = tmp_path / "hook.py"
    script.write_text(hook_source("pre_gen_project"), encoding="utf-8")
    result = subprocess.run([sys.executable, str(script)], capture_output=True, text=True)
    assert result.returncode == 1
    assert result.stderr.startswith("ERROR: No project was generated: JSONDecodeError: ")
    assert result.stderr.count("\n") == 1
