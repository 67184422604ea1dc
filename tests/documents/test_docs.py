"""The documents: every command works, every link has a target, every name exists in the code."""

import ast
import importlib.util
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Projects
from tests.support.newcomer import Block, Newcomer, blocks, repository
from tests.support.options import ALWAYS, DEFAULTS, OPTIONS, QUESTIONS, Answers, enabling_answers
from tests.support.redis_server import redis_server
from tests.support.template import ROOT, TREE, cookiecutter, typing

PATHS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
# The reader of README.md is in a clone.
CLONE = "git clone -q https://github.com/OWNER/REPO && cd REPO"
DOCUMENTS = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in PATHS}
# The defaults that settings have in common with other code.
CONSTANTS = {
    "LOCAL": "127.0.0.1,::1,unix",
    "PUBLIC_PATHS": "/,/docs,/redoc,/openapi.json,/healthz,/readyz",
}
BLOCKS = {name: blocks(text) for name, text in DOCUMENTS.items()}
NOT_RUN = [(name, block) for name in BLOCKS for block in BLOCKS[name] if block.marker == "not run"]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a repository that Git fetches instead of the address of the template."""
    return repository(tmp_path_factory.mktemp("template"))


@pytest.fixture
def newcomer(tmp_path: Path, template: Path) -> Iterator[Newcomer]:
    """Return a new user who follows a document from its beginning."""
    user = Newcomer(tmp_path, template)
    yield user
    user.stop()


@pytest.mark.slow
@pytest.mark.xdist_group("docs")
@pytest.mark.parametrize("name", [name for name in BLOCKS if BLOCKS[name]])
def test_the_commands_work(name: str, newcomer: Newcomer) -> None:
    if name == "README.md":
        newcomer.run(CLONE)
    if "localhost:6379" not in DOCUMENTS[name]:
        follow(newcomer, BLOCKS[name])
        return
    with redis_server() as redis:
        newcomer.words["6379"] = str(redis.port)
        follow(newcomer, BLOCKS[name])


def follow(newcomer: Newcomer, found: list[Block]) -> None:
    for block in found:
        newcomer.follow(block)


@pytest.mark.parametrize(
    ("name", "block"), NOT_RUN, ids=[f"{name}: {block.because}" for name, block in NOT_RUN]
)
def test_what_is_not_run_says_why(name: str, block: Block) -> None:
    assert len(block.because.split()) > 2


@pytest.mark.parametrize("name", BLOCKS)
def test_the_commands_are_shell(name: str) -> None:
    for block in BLOCKS[name]:
        subprocess.run(["bash", "-n"], input=block.code, encoding="utf-8", check=True)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_fence_names_a_language_that_is_understood(name: str) -> None:
    languages = set(re.findall(r"^ *```(.*)\n(?:.*\n)*? *```$", DOCUMENTS[name], re.MULTILINE))
    assert languages <= {"sh", "bash", "console", "text", "json", "python", "toml", "yaml", "ini"}
    # A misspelt marker, or one that is not before a block, would have no effect.
    markers = re.findall(r"^<!--.*?-->$", DOCUMENTS[name], re.DOTALL | re.MULTILINE)
    assert len(markers) == sum(bool(block.marker) for block in BLOCKS[name])


def sections(name: str) -> dict[str, str]:
    """Return the text below each heading of a document. The keys have no backticks."""
    parts = re.split(r"^## (.*)$", DOCUMENTS[name], flags=re.MULTILINE)
    return dict(zip((part.strip("`") for part in parts[1::2]), parts[2::2], strict=True))


def rows(text: str) -> list[list[str]]:
    """Return the cells of the tables in a text, as they are written, without the heads."""
    lines = re.findall(r"^\| (`.*) \|$", text, re.MULTILINE)
    return [[cell.strip() for cell in line.split("|")] for line in lines]


def test_the_questions_are_those_that_are_asked() -> None:
    words: dict[Any, str] = {True: "yes", False: "no", "my-service": "from the name"}
    expected = []
    for question, default in QUESTIONS.items():
        first, *others = default if isinstance(default, list) else [default]
        cells = [f"`{question}`", words.get(first, f"`{first}`")]
        if isinstance(default, bool):
            cells.append(words[not default])
        elif others:
            cells.append(", ".join(f"`{choice}`" for choice in others))
        expected.append(cells)
    documented = rows(DOCUMENTS["docs/options.md"])
    assert [row[: len(cells)] for row, cells in zip(documented, expected, strict=True)] == expected


@pytest.mark.parametrize("typed", [True, False], ids=["a space at the prompt", "nothing"])
def test_the_author_may_be_empty(tmp_path: Path, typed: bool) -> None:
    if typed:
        spaces: Answers = {"author_name": " ", "author_email": " "}
        result = cookiecutter(output=tmp_path / "out", typed=typing(spaces))
    else:
        empty = ["author_name=", "author_email="]
        result = cookiecutter("--no-input", *empty, output=tmp_path / "out")
    assert result.returncode == 0, result.stderr
    metadata = (tmp_path / "out" / "my-service" / "pyproject.toml").read_text(encoding="utf-8")
    assert "authors" not in tomllib.loads(metadata)["project"]


def test_the_readme_has_each_pick_and_its_default() -> None:
    documented = [(row[0], row[1]) for row in rows(sections("README.md")["What you get"])]
    words: dict[Any, str] = {True: "yes", False: "no"}
    assert documented == [
        (f"`{name}`", words.get(DEFAULTS[name], f"`{DEFAULTS[name]}`"))
        for name in QUESTIONS
        if enabling_answers(name)
    ]


def brought() -> dict[str, set[str]]:
    """Return the packages that each answer adds according to the README."""
    said: dict[str, set[str]] = {}
    question = ""
    for line in re.findall(r"^\| .* \|$", sections("README.md")["What you get"], re.MULTILINE)[1:]:
        _, name, _, gives, costs, _ = (cell.strip() for cell in line.split("|"))
        question = name.strip("`") or question
        # A row that does not start with answers applies to all of them.
        begin = re.match(r"(?:`(\w+)`(?:, )?)*", gives)
        named = set(re.findall(r"\w+", begin[0])) if begin else set()
        answers = set(map(str, enabling_answers(question)))
        for answer in answers & named or answers:
            packages = set(re.findall(r"`([\w-]+)(?:\[\w+\])?`", costs))
            said.setdefault(f"{question}={answer}", set()).update(packages)
    return said


def test_the_readme_names_what_each_pick_brings(projects: Projects) -> None:
    def dependencies(combination: str) -> set[str]:
        text = (projects(combination) / "pyproject.toml").read_text(encoding="utf-8")
        lines: list[str] = tomllib.loads(text)["project"]["dependencies"]
        return {re.split(r"[\[>]", line)[0] for line in lines}

    for option, packages in brought().items():
        base = "database=sqlite" if option == "jwt=issue" else "nothing"
        assert (option, dependencies(option) - dependencies(base)) == (option, packages)


def test_the_order_is_that_of_the_stack() -> None:
    documented = [row[0].strip("`") for row in rows(DOCUMENTS["docs/order.md"])]
    assert documented == [layer.name for layer in draws().layers()]


def settings(path: str) -> set[tuple[str, str]]:
    """Return the environment variables of the settings in a file, with their defaults."""
    tree = ast.parse((TREE / path).read_text(encoding="utf-8"))
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    return {
        (ast.unparse(field.target).upper(), shown(field.value))
        for node in classes
        if node.name.endswith("Settings")
        for field in node.body
        if isinstance(field, ast.AnnAssign)
    }


def shown(default: ast.expr | None) -> str:
    """Return a default as it is written in `.env`."""
    if isinstance(default, ast.Call):
        named = [keyword.value for keyword in default.keywords if keyword.arg == "default"]
        return shown([*default.args, *named][0])
    if default is None:
        return ""
    if isinstance(default, ast.Name):
        return CONSTANTS[default.id]
    value = ast.literal_eval(default)
    if isinstance(value, bool):
        return str(value).lower()
    text = ",".join(value) if isinstance(value, list) else str(value)
    return text.replace("sqlite+aiosqlite", "sqlite")


@pytest.mark.parametrize("option", ["Always there", *filter(enabling_answers, QUESTIONS)])
def test_every_option_has_its_settings(option: str) -> None:
    owned = [row for row in OPTIONS if option in (row.question, *(name for name, _ in row.also))]
    files = (
        ALWAYS.union() if option == "Always there" else set().union(*(row.files for row in owned))
    )
    modules = [path for path in files if path.startswith("app/") and path.endswith(".py")]
    documented = {
        (name.strip("`"), default.strip("`"))
        for name, default, _ in rows(sections("docs/middleware.md")[option])
    }
    assert documented == set().union(*map(settings, modules))


def test_every_section_is_an_option() -> None:
    assert list(sections("docs/middleware.md")) == [
        "Always there",
        *filter(enabling_answers, QUESTIONS),
    ]


def test_the_code_that_is_quoted_is_there() -> None:
    example = (TREE / "app" / "middleware" / "example.py").read_text(encoding="utf-8")
    quoted = re.findall(r"^```python\n(.*?)^```$", DOCUMENTS["docs/own-middleware.md"], re.M | re.S)
    assert len(quoted) == 2
    for code in quoted:
        assert code in example


def draws() -> Any:
    """Return the module that draws the pictures."""
    spec = importlib.util.spec_from_file_location("pictures", ROOT / "docs" / "pictures.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_pictures_are_true() -> None:
    files = (ROOT / "docs" / "pictures").iterdir()
    drawn = {path.name: path.read_text(encoding="utf-8") for path in files}
    assert drawn == draws().pictures(), "draw them again: uv run docs/pictures.py"


def anchors(text: str) -> set[str]:
    """Return the anchors that GitHub creates from the headings of a document."""
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_link_leads_somewhere(name: str) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", DOCUMENTS[name]):
        path, _, anchor = target.partition("#")
        if "://" in target:
            continue
        file = (ROOT / name).parent / path if path else ROOT / name
        assert file.resolve().is_relative_to(ROOT), target
        assert file.exists(), target
        assert not anchor or anchor in anchors(file.read_text(encoding="utf-8")), target


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_document_can_be_reached(name: str) -> None:
    links = set(re.findall(r"\]\(([^)\s#]+)", DOCUMENTS["README.md"]))
    assert name in links | {"README.md"}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_picture_says_what_it_shows(name: str) -> None:
    for described, path in re.findall(r"!\[(.*?)\]\((.*?)\)", DOCUMENTS[name]):
        picture = ((ROOT / name).parent / path).read_text(encoding="utf-8")
        assert f"<title>{described}</title>" in picture
