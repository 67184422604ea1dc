"""The questions are the API of this template: their names, order, defaults and prompts."""

import fnmatch
import json
from pathlib import Path, PurePosixPath

import pytest
from cookiecutter.prompt import prompt_for_config

from tests.support.options import DEFAULTS, QUESTIONS
from tests.support.template import (
    CONTEXT,
    ROOT,
    TREE,
    cookiecutter,
    is_copied,
    load_hook,
    template_files,
)

WIRING = frozenset(
    """
    .env.example
    .github/dependabot.yml
    .github/workflows/ci.yml
    .gitlab-ci.yml
    Dockerfile
    README.md
    app/api/__init__.py
    app/auth/__init__.py
    app/config.py
    app/db/__init__.py
    app/factory.py
    app/serve.py
    app/stack.py
    app/tasks/__init__.py
    compose.yaml
    migrations/env.py
    migrations/versions/0001_initial.py
    pyproject.toml
    tests/conftest.py
    """.split()
)
PROMPTS = CONTEXT["__prompts__"]


def test_names_order_and_defaults() -> None:
    asked = [(name, value) for name, value in CONTEXT.items() if not name.startswith("_")]
    slug = "{{ cookiecutter.project_name | slugify(max_length=64) or 'service' }}"
    assert asked == list((QUESTIONS | {"project_slug": slug}).items())


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("My Service", "my-service"),
        ("Привіт, світе", "privit-svite"),
        ("🚀", "service"),
        ("a" * 200, "a" * 64),
    ],
)
def test_the_slug_is_derived_from_the_name(name: str, slug: str) -> None:
    context = {"cookiecutter": json.loads(json.dumps(CONTEXT)) | {"project_name": name}}
    assert prompt_for_config(context, no_input=True)["project_slug"] == slug


def test_the_hook_checks_the_same_questions() -> None:
    hook = load_hook("pre_gen_project", DEFAULTS)
    choices = {name: tuple(value) for name, value in QUESTIONS.items() if isinstance(value, list)}
    assert set(hook.TEXTS) == {name for name in QUESTIONS if isinstance(QUESTIONS[name], str)}
    assert set(hook.BOOLEANS) == {name for name in QUESTIONS if isinstance(QUESTIONS[name], bool)}
    assert choices == hook.CHOICES


def test_every_question_has_a_prompt() -> None:
    assert list(PROMPTS) == list(QUESTIONS)


@pytest.mark.parametrize("question", QUESTIONS)
def test_prompts_suit_their_questions(question: str) -> None:
    prompt, default = PROMPTS[question], QUESTIONS[question]
    if isinstance(default, list):
        assert set(prompt) == {"__prompt__", *default}
        lines = list(prompt.values())
    else:
        lines = [prompt]
    for line in lines:
        assert line.strip() == line != ""
        assert "\n" not in line
        assert "[" not in line  # Rich interprets it as markup and does not print it
        # Fits with its number and its choices into a terminal of 80 columns.
        assert len(line) <= 57 or not isinstance(default, bool)


def test_every_prompt_is_shown(tmp_path: Path) -> None:
    result = cookiecutter(output=tmp_path / "out", typed="\n" * len(QUESTIONS))
    shown = " ".join(result.stdout.split())
    for prompt in PROMPTS.values():
        for line in prompt.values() if isinstance(prompt, dict) else [prompt]:
            assert " ".join(line.split()) in shown


def test_only_the_wiring_is_rendered() -> None:
    assert {path for path in template_files() if not is_copied(path)} == WIRING


@pytest.mark.parametrize("path", sorted(template_files() - WIRING))
def test_a_copied_file_is_free_of_jinja(path: str) -> None:
    text = (TREE / path).read_text(encoding="utf-8")
    for mark in ("{{", "{%", "{#", "cookiecutter"):
        assert mark not in text


def test_every_pattern_matches_a_file() -> None:
    # These two match files in a checkout in which the service has run. The hook removes them.
    patterns = set(CONTEXT["_copy_without_render"]) - {".venv", ".*_cache"}
    files = template_files()
    directories = {str(parent) for path in files for parent in PurePosixPath(path).parents}
    assert not {pattern for pattern in patterns if not fnmatch.filter(files | directories, pattern)}


def test_the_template_uses_no_feature_that_cruft_does_not_support() -> None:
    assert not {"template", "templates"} & set(CONTEXT)
    assert not (ROOT / "hooks" / "pre_prompt.py").exists()
