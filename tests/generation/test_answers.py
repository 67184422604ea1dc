"""Any answer either appears unchanged in the project, or is rejected with a message.

Most cases run the hooks, and render only the files that contain answers. They read the command
line with Cookiecutter's own code. Some cases run Cookiecutter as a whole.
"""

import ast
import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from cookiecutter.exceptions import FailedHookException, UndefinedVariableInTemplate
from cookiecutter.generate import generate_context
from cookiecutter.main import cookiecutter
from cookiecutter.prompt import YesNoPrompt, prompt_for_config
from cookiecutter.utils import create_env_with_context
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from jinja2 import Environment, Template
from jinja2.exceptions import TemplateError
from rich.prompt import InvalidResponse

from tests.conftest import standard_error
from tests.support.options import DEFAULTS, NOTHING, QUESTIONS, Answer, Answers, files_of
from tests.support.template import CONTEXT, ROOT, TREE, files_below, load_hook, with_derived
from tests.support.template import cookiecutter as command

TEXTS = [question for question, default in QUESTIONS.items() if isinstance(default, str)]
# The files of a project that contain the texts of answers.
HOLDERS = ["README.md", "app/factory.py", "pyproject.toml"]

HARMLESS = [
    *[
        "'",
        '"',
        "\\",
        "'''",
        '"""',
        "\\n",
        "\\u0027",
        "\\x00",
        "\\N{BULLET}",
        "`",
        "$(id)",
        "${HOME}",
    ],
    *["{", "}", "{{", "}}", "{{ 7 * 7 }}", "{% x %}", "# {% if %}", "# {%", "{#", "#}", "%", "%s"],
    *[
        "#",
        "-->",
        "<b>",
        "&amp;",
        "]]>",
        "|",
        "[bold]",
        "[[project]]",
        "\xa0",
        "\xad",
        "\u200b",
        " ",
    ],
    *[
        "\u200d",
        "\ufeff",
        "\ufffe",
        "Їжак",
        "🚀",
        "👩‍💻",
        "\U000e0001",
        "\U0010ffff",
        "e\u0301",
        "a",
    ],
]
UNSAFE = [
    "\x01",
    "\t",
    "\n",
    "\r",
    "\x7f",
    "\x85",
    "\u061c",
    "\u2028",
    "\u202e",
    "\udcff",
    "a" * 201,
]
SLUGS = [".", "..", "/", "\\", "-", "_", "~", "con", "pytest", "my", "Ї", "\udcff", "1", "a" * 40]
EMAILS = ["@", "you", "example.com", "ї", '"', "\\", "<", ">", " ", ",", "\n", "+", ".", "a"]


def joined(fragments: list[str], size: int = 5) -> st.SearchStrategy[str]:
    """Return a strategy for texts that are composed of fragments."""
    return st.lists(st.sampled_from(fragments), min_size=1, max_size=size).map("".join)


# No system passes a NUL on a command line, or a lone surrogate except those that encode a byte.
characters = st.characters(exclude_categories=["Cs"], exclude_characters="\x00")
harmless = joined(HARMLESS, 10)
texts = harmless | harmless | joined(HARMLESS + UNSAFE) | st.text(characters, max_size=250)
good_slugs = st.from_regex(r"[a-z0-9][A-Za-z0-9._-]{0,60}[a-z0-9]", fullmatch=True)
slugs = good_slugs | good_slugs | joined(SLUGS) | st.text(characters, max_size=300)
addresses = st.builds("{}@{}".format, joined(EMAILS, 2), joined(EMAILS, 2))
emails = st.emails() | addresses | texts
TYPED = {question: texts for question in TEXTS} | {"project_slug": slugs, "author_email": emails}
typed = st.fixed_dictionaries({}, optional=TYPED)

words = st.sampled_from(["y", "no", "TRUE", " on ", "0", "", "2", "None", "{{ 1 }}"]) | texts
values = {
    question: st.sampled_from(default) | words if isinstance(default, list) else words
    for question, default in QUESTIONS.items()
    if question not in TEXTS
}
others = st.sampled_from(list(values)).flatmap(lambda name: st.tuples(st.just(name), values[name]))
raw = st.builds(lambda texts, more: texts | dict(more), typed, st.lists(others, max_size=2))


def fuzz(
    examples: int, cases: st.SearchStrategy[dict[str, Any]], check: Callable[[dict[str, Any]], None]
) -> None:
    """Run a check on generated cases, which are the same in every run."""
    quiet = settings(
        max_examples=examples,
        derandomize=True,
        phases=[Phase.generate, Phase.shrink],
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    quiet(given(cases)(check))()


@cache
def environment() -> Environment:
    """Return the Jinja environment that Cookiecutter creates for this template."""
    made: Environment = create_env_with_context({"cookiecutter": CONTEXT})
    return made


@cache
def holder(path: str) -> Template:
    """Return a file that contains answers as a Jinja template."""
    return environment().from_string((TREE / path).read_text(encoding="utf-8"))


def read(raw: dict[str, str]) -> dict[str, Any]:
    """Return the answers that Cookiecutter reads from a command line."""
    context = generate_context(str(ROOT / "cookiecutter.json"), extra_context=raw)
    answers: dict[str, Any] = prompt_for_config(context, no_input=True)
    return answers


def quoted(text: str) -> str:
    """Return a value for the command line, which Jinja renders, that evaluates to `text`."""
    units = "".join(f"\\U{ord(character):08x}" for character in text)
    return f"{{{{ '{units}' }}}}"


def refusals(answers: dict[str, Any]) -> list[str]:
    """Return the problems that the hook finds in the answers, one line each."""
    lines: list[str] = load_hook("pre_gen_project", answers).problems(answers, [])
    for line in lines:
        assert line.partition(": ")[0] in QUESTIONS
        assert line.isascii()
        assert line.isprintable()
    return lines


def check_files(read: Callable[[str], str], answers: dict[str, Any]) -> None:
    """Check that the files of a project contain the answers."""
    project = tomllib.loads(read("pyproject.toml"))["project"]
    author = {"name": answers["author_name"], "email": answers["author_email"]}
    author = {key: text for key, text in author.items() if text}
    assert project["name"] == answers["project_slug"]
    assert project["description"] == answers["description"]
    assert project.get("authors", []) == ([author] if author else [])
    title, description = answers["project_name"], answers["description"]
    assert read("README.md").startswith(f"# {title}\n\n{description}\n")
    [app] = [
        node
        for node in ast.walk(ast.parse(read("app/factory.py")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "FastAPI"
    ]
    keywords = {keyword.arg: keyword.value for keyword in app.keywords}
    assert ast.literal_eval(keywords["title"]) == title
    assert ast.literal_eval(keywords["description"]) == description


def check_rendered(answers: dict[str, Any], keep: Callable[[str], None]) -> None:
    """Check the project of valid answers. `keep`: is called with the text of its factory."""
    assert json.loads(load_hook("post_gen_project", answers).ANSWERS) == answers
    complete = with_derived(answers)
    files = {path: holder(path).render(cookiecutter=complete) for path in HOLDERS}
    for text in files.values():
        # Cookiecutter must be able to write it to a file.
        text.encode("utf-8")
    check_files(files.__getitem__, answers)
    keep(files["app/factory.py"])


class Factories:
    """The factories that were rendered, to check the format of all of them in one run."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.count = 0

    def keep(self, factory: str) -> None:
        """Write a factory to a new file."""
        self.count += 1
        (self.directory / f"factory_{self.count}.py").write_text(factory, encoding="utf-8")

    def check_format(self) -> None:
        """Check that the formatter does not change any factory."""
        command = [sys.executable, "-m", "ruff", "format", "--check", "--quiet", "--no-cache"]
        config = ["--config", "line-length = 100"]
        subprocess.run([*command, *config, str(self.directory)], check=True)


@pytest.mark.parametrize("examples", [60, pytest.param(2000, marks=pytest.mark.slow)])
def test_typed_text_is_kept_unchanged_or_rejected(examples: int, tmp_path: Path) -> None:
    factories = Factories(tmp_path)
    seen = {"rejected": 0, "rendered": 0}

    def check(typed: dict[str, str]) -> None:
        answers = DEFAULTS | typed
        if refusals(answers):
            seen["rejected"] += 1
        else:
            seen["rendered"] += 1
            check_rendered(answers, factories.keep)

    fuzz(examples, typed, check)
    factories.check_format()
    # Both outcomes must occur often enough.
    assert min(seen.values()) > examples / 10


def expected(question: str, value: str) -> Answer:
    """Return the answer that Cookiecutter should read from a value on the command line.

    Raises ValueError for an invalid value, and the errors of Jinja.
    """
    default = QUESTIONS[question]
    if isinstance(default, bool):
        try:
            return bool(YesNoPrompt().process_response(value))
        except InvalidResponse as error:
            raise ValueError(question) from error
    if isinstance(default, list):
        if value not in default:
            raise ValueError(question)
        return value
    return str(environment().from_string(value).render(cookiecutter={}))


def names_directory(slug: str) -> bool:
    """Return whether a slug can be the name of a directory."""
    return bool(slug.strip(".")) and not set("/\\") & set(slug) and len(os.fsencode(slug)) < 256


@pytest.mark.parametrize("examples", [60, pytest.param(2000, marks=pytest.mark.slow)])
def test_values_on_the_command_line_are_rendered_or_rejected(examples: int, tmp_path: Path) -> None:
    factories = Factories(tmp_path)
    rejections: list[str] = []

    def check(raw: dict[str, str]) -> None:
        wanted: Answers = {}
        mistakes = []
        for question, value in raw.items():
            try:
                wanted[question] = expected(question, value)
            except ValueError:
                mistakes.append(f"variable {question}")
            except TemplateError as error:
                # Cookiecutter renders the values of the user before the template.
                mistakes.append(str(error))
        if not names_directory(str(wanted.get("project_slug", "a"))):
            mistakes.append("project_slug: is not a valid directory name; use ASCII letters")
        try:
            answers = read(raw)
        except (ValueError, TemplateError, UndefinedVariableInTemplate) as error:
            rejections.append(f"{error} {error.__cause__}")
            assert any(mistake in rejections[-1] for mistake in mistakes)
            return
        assert not mistakes
        assert {question: answers[question] for question in raw} == wanted
        if not refusals(answers):
            check_rendered(answers, factories.keep)

    fuzz(examples, raw, check)
    factories.check_format()
    assert min(factories.count, len(rejections)) > examples / 10


@pytest.mark.parametrize("examples", [6, pytest.param(80, marks=pytest.mark.slow)])
def test_the_directory_has_a_complete_project_or_nothing(examples: int, tmp_path: Path) -> None:
    # Quoted values, because Cookiecutter would render them, unlike answers at its prompts.
    home = tmp_path / "cookiecutter.yaml"
    home.write_text(f"replay_dir: {tmp_path / 'replay'}\n", encoding="utf-8")
    count = 0

    def check(typed: dict[str, str]) -> None:
        nonlocal count
        count += 1
        output = tmp_path / f"out {count}" / "inner"
        output.mkdir(parents=True)
        answers = NOTHING | typed
        quotes = {
            question: quoted(answer) if isinstance(answer, str) and question in TEXTS else answer
            for question, answer in answers.items()
        }
        with standard_error() as captured:
            try:
                cookiecutter(
                    str(ROOT),
                    no_input=True,
                    extra_context=quotes,
                    output_dir=str(output),
                    config_file=str(home),
                )
                rejection: Exception | None = None
            except (FailedHookException, TemplateError) as error:
                rejection = error
            captured.seek(0)
            stderr = captured.read().decode()
        if rejection is not None:
            assert list((tmp_path / f"out {count}").rglob("*")) == [output]
            if isinstance(rejection, FailedHookException):
                assert stderr.startswith("ERROR: No project was generated. Invalid answers:\n")
                rejected = [line.partition(":")[0] for line in stderr.splitlines()[1:]]
                assert rejected
                assert set(rejected) <= set(typed) | {"project_slug"}
            else:
                assert "project_slug: is not a valid directory name" in str(rejection)
            return
        [project] = output.iterdir()
        complete: Answers = DEFAULTS | {"project_slug": project.name} | answers
        assert files_below(project) == files_of(complete)
        check_files(lambda path: (project / path).read_text(encoding="utf-8"), complete)
        for path in project.rglob("*.py"):
            ast.parse(path.read_text(encoding="utf-8"))

    fuzz(examples, typed, check)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("use_cors=whatever", "whatever provided for variable use_cors could not be converted"),
        ("ci=jenkins", "jenkins provided for choice variable ci, but the choices are"),
        ("description={{ me", "TemplateSyntaxError: unexpected end of template"),
        ("project_slug=a b", "project_slug: 'a b' is not a valid name"),
    ],
)
def test_the_command_rejects_invalid_arguments(argument: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    result = command("--no-input", argument, output=tmp_path / "out")
    assert result.returncode == 1
    assert message in result.stdout + result.stderr
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("slug", ["", ".", "..", "a/b/c", "../up", "a\\b", "я" * 128])
def test_a_slug_that_is_not_a_directory_name_creates_no_directory(slug: str) -> None:
    # For a/b, Cookiecutter would create two directories and remove only the last one.
    with pytest.raises(TemplateError, match="project_slug: is not a valid directory name; use "):
        read({"project_slug": slug})


@pytest.mark.parametrize("path", HOLDERS)
def test_the_files_contain_answers(path: str) -> None:
    assert any(
        f"cookiecutter.{question}" in (TREE / path).read_text(encoding="utf-8")
        for question in TEXTS
    )
