"""Changes of options with cruft, using the commands in docs/updating.md."""

import json
import os
import re
import shlex
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.conftest import Bake
from tests.support.options import (
    COMBINATIONS,
    NEEDED,
    NOTHING,
    QUESTIONS,
    Answers,
    enabling_answers,
)
from tests.support.service import environment, serving
from tests.support.template import ROOT, copy_checkout, files_below

ADDRESS = "https://github.com/OWNER/REPO"
DOCUMENT = (ROOT / "docs" / "updating.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (.*)\n((?:(?!^## ).*\n)*)", DOCUMENT, re.MULTILINE))
# Files that updates do not change, or that depend on when the project was generated.
IGNORED = {".env", ".cruft.json", "uv.lock", "migrations/versions/0001_initial.py"}

Shell = Callable[..., str]


def documented(section: str, start: str) -> str:
    """Return the command in a section of the document that starts with a text."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", SECTIONS[section], re.MULTILINE | re.DOTALL)
    lines = "".join(blocks).replace("\\\n", "").splitlines()
    [command] = {line for line in lines if line.startswith(start)}
    return command


def about(command: str, answers: Answers) -> str:
    """Return the command with these answers instead of the documented ones."""
    changed, count = re.subn(r"'\{.*\}'", lambda _: shlex.quote(json.dumps(answers)), command)
    assert count == 1
    return changed


CREATE = documented("Begin with cruft", "uvx cruft create")
ADD = documented("Add an option", "uvx cruft update")
REMOVE = documented("Remove an option", "uvx cruft update")
SETTINGS = documented("Add an option", "grep")
UPDATE = documented("Apply a release", "uvx cruft update")
UNDO = documented("Resolve conflicts", "git reset")
CHECK = "uv run alembic check && uv run ruff check && uv run ruff format --check"
COMMIT = "git add --all && git commit -q --allow-empty -m changed"


def git(directory: Path, *arguments: str) -> str:
    """Run Git with a name and an e-mail address, and return its output."""
    name = ["-c", "user.name=Test", "-c", "user.email=test@example.com"]
    result = subprocess.run(
        ["git", *name, *arguments], cwd=directory, check=True, capture_output=True, encoding="utf-8"
    )
    return result.stdout


def save(directory: Path) -> None:
    """Commit all changes in the working tree."""
    git(directory, "add", "--all")
    git(directory, "commit", "-q", "--allow-empty", "-m", "All")


def previous() -> str | None:
    """Return the previous release, or if there is none, the parent of the last change."""
    for arguments in (
        ["describe", "--tags", "--abbrev=0", "HEAD^"],
        ["log", "-1", "--no-merges", "--format=%P", "--", "{{cookiecutter.project_slug}}"],
    ):
        found = subprocess.run(
            ["git", *arguments], cwd=ROOT, capture_output=True, encoding="utf-8"
        ).stdout.strip()
        if found:
            return found
    return None


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a clone of this repository, uncommitted changes included."""
    clone = tmp_path_factory.mktemp("template") / "template"
    git(ROOT, "clone", "-q", str(ROOT), str(clone))
    copy_checkout(clone)
    save(clone)
    return clone


@pytest.fixture
def shell(tmp_path: Path, template: Path) -> Shell:
    """Return a function that runs a command in a directory and returns its output.

    Git fetches the clone instead of the address of the template. `uvx` runs the tools that are
    installed here.
    """
    (tmp_path / "home").mkdir()
    (tmp_path / "bin").mkdir()
    uvx = tmp_path / "bin" / "uvx"
    uvx.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m "$@"\n', encoding="utf-8")
    uvx.chmod(0o755)
    variables = environment(
        HOME=str(tmp_path / "home"),
        PATH=os.pathsep.join(
            [str(uvx.parent), str(Path(sys.executable).parent), os.environ["PATH"]]
        ),
        GIT_AUTHOR_NAME="Test",
        GIT_AUTHOR_EMAIL="test@example.com",
        GIT_COMMITTER_NAME="Test",
        GIT_COMMITTER_EMAIL="test@example.com",
        GIT_CONFIG_COUNT="2",
        GIT_CONFIG_KEY_0=f"url.{template.as_uri()}.insteadOf",
        GIT_CONFIG_VALUE_0=ADDRESS,
        # As Copier completes it.
        GIT_CONFIG_KEY_1=f"url.{template.as_uri()}.insteadOf",
        GIT_CONFIG_VALUE_1=f"{ADDRESS}.git",
        PYTHONUTF8="1",
    )

    def run(command: str, directory: Path, status: int = 0) -> str:
        result = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command],
            cwd=directory,
            env=variables,
            # Every prompt gets Enter.
            input="\n" * 30,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
        )
        assert result.returncode == status, f"{command}\n{result.stdout}"
        return result.stdout

    return run


def generate(shell: Shell, directory: Path, answers: Answers) -> Path:
    """Generate a project with cruft, and commit it."""
    shell(about(CREATE, answers), directory)
    project = directory / str(answers.get("project_slug", "my-service"))
    shell(f"git init -q && {COMMIT}", project)
    return project


def contents(project: Path) -> dict[str, bytes]:
    """Return the contents of the files of a project by path, except those in `IGNORED`.

    The README contains the address or the path of the template, which is replaced with `ADDRESS`.
    """
    paths = {path for path in files_below(project) if not path.startswith((".git/", ".venv/"))}
    found = {path: (project / path).read_bytes() for path in paths - IGNORED}
    return {
        path: text.replace(str(ROOT).encode(), ADDRESS.encode()) for path, text in found.items()
    }


def answers_of(project: Path) -> Answers:
    """Return the answers that cruft has stored."""
    noted = json.loads((project / ".cruft.json").read_text(encoding="utf-8"))
    context: Answers = noted["context"]["cookiecutter"]
    return {question: context[question] for question in QUESTIONS}


def own(files: dict[str, bytes], edited: list[str]) -> dict[str, bytes]:
    """Return the files with changes of the user: a line in some of them, and a new file."""
    mine = {path: b"# Mine.\n" + files[path] for path in edited}
    return files | mine | {"app/mine.py": b"MINE = True\n"}


def write(project: Path, files: dict[str, bytes]) -> None:
    """Write the files of a project."""
    for path, content in files.items():
        (project / path).write_bytes(content)


def option_cases() -> list[tuple[str, Answers, Answers]]:
    """Return a name, the answers before, and the changed answers, for every change of an option."""
    cases: list[tuple[str, Answers, Answers]] = []
    for question in QUESTIONS:
        for answer in enabling_answers(question):
            needed = NEEDED.get((question, answer), {})
            cases.append((f"{question}={answer}", NOTHING | needed, {question: answer}))
        if isinstance(QUESTIONS[question], list):
            one, other = enabling_answers(question)
            base = NOTHING | {"database": "sqlite"} | {question: one}
            cases.append((f"{question}={one}->{other}", base, {question: other}))
    return cases


@pytest.mark.parametrize(
    ("before", "change"),
    [
        pytest.param(
            before, change, id=name, marks=() if name == "use_gzip=True" else pytest.mark.slow
        )
        for name, before, change in option_cases()
    ],
)
def test_an_option_can_be_added_and_removed(
    bake: Bake, shell: Shell, tmp_path: Path, before: Answers, change: Answers
) -> None:
    without, with_it = contents(bake(**before)), contents(bake(**before | change))
    project = generate(shell, tmp_path, before)
    assert contents(project) == without

    both = [path for path in sorted(without) if path in with_it]
    changing = [path for path in both if without[path] != with_it[path]]
    edited = [*changing[:1], "app/core/paths.py"]
    write(project, own(without, edited))
    shell(COMMIT, project)
    env = (project / ".env").read_bytes()

    shell(about(ADD, change), project)
    assert contents(project) == own(with_it, edited)
    assert answers_of(project) == answers_of(project) | before | change

    shell(COMMIT, project)
    back = {question: before[question] for question in change}
    shell(about(REMOVE, back), project)
    assert contents(project) == own(without, edited)
    assert answers_of(project) == answers_of(project) | before
    assert (project / ".env").read_bytes() == env


@pytest.mark.slow
def test_rejected_answers_change_nothing(shell: Shell, tmp_path: Path) -> None:
    project = generate(shell, tmp_path, {})
    before = contents(project) | {".cruft.json": (project / ".cruft.json").read_bytes()}
    output = shell(about(ADD, {"jwt": "issue"}), project, status=1)
    assert "\njwt: " in output
    assert "'issue' needs a database" in output
    assert contents(project) | {".cruft.json": (project / ".cruft.json").read_bytes()} == before
    assert shell("git status --short", project) == ""


@pytest.mark.slow
def test_a_conflict_keeps_both_versions_of_a_line(shell: Shell, tmp_path: Path) -> None:
    project = generate(shell, tmp_path, NOTHING)
    example = project / ".env.example"
    text = example.read_text(encoding="utf-8")
    example.write_text(text.replace("NAME=my-service\n", "NAME=mine\nMINE=1\n"), encoding="utf-8")
    shell(COMMIT, project)

    output = shell(about(ADD, {"use_gzip": True}), project)
    assert "Applied patch to '.env.example' with conflicts." in output
    status = shell(documented("Resolve conflicts", "git status"), project)
    assert "UU .env.example\n" in status
    marked = documented("Resolve conflicts", "git diff --check")
    assert ".env.example:" in shell(marked, project, status=2)
    assert {"OTEL_SERVICE_NAME=mine", "MINE=1", "GZIP_MINIMUM_SIZE=1000"} <= set(
        example.read_text(encoding="utf-8").splitlines()
    )
    shell(UNDO, project)
    assert shell("git status --short", project) == ""


@pytest.mark.slow
def test_a_change_that_git_cannot_merge_is_in_a_file_beside_it(
    shell: Shell, tmp_path: Path
) -> None:
    # The repository does not contain the generated version of the file.
    shell(about(CREATE, NOTHING), tmp_path)
    project = tmp_path / "my-service"
    example = project / ".env.example"
    example.write_text("MAX_BODY_SIZE=1\n", encoding="utf-8")
    shell(f"git init -q && {COMMIT}", project)
    output = shell(about(ADD, {"use_gzip": True}), project)
    assert "*.rej files reflecting merge conflicts" in output
    assert example.read_text(encoding="utf-8") == "MAX_BODY_SIZE=1\n"
    assert "GZIP_MINIMUM_SIZE" in (project / ".env.example.rej").read_text(encoding="utf-8")
    assert (project / "app/middleware/gzip.py").is_file()
    shell(UNDO, project)
    assert shell("git status --short", project) == ""


@pytest.mark.slow
def test_a_file_that_was_deleted_stays_deleted(shell: Shell, tmp_path: Path) -> None:
    project = generate(shell, tmp_path, NOTHING)
    (project / "README.md").unlink()
    shell(COMMIT, project)
    shell(about(ADD, {"use_gzip": True}), project)
    assert not (project / "README.md").exists()
    assert (project / "app/middleware/gzip.py").is_file()


@pytest.mark.slow
def test_removing_an_option_keeps_an_edited_file(shell: Shell, tmp_path: Path) -> None:
    project = generate(shell, tmp_path, NOTHING | {"use_gzip": True})
    gzip = project / "app/middleware/gzip.py"
    gzip.write_bytes(b"# Mine.\n" + gzip.read_bytes())
    shell(COMMIT, project)
    shell(about(REMOVE, {"use_gzip": False}), project)
    assert not (project / "tests/middleware/test_gzip.py").exists()
    assert gzip.read_bytes().startswith(b"# Mine.\n")


@pytest.mark.slow
@pytest.mark.parametrize("answers", [{}, COMBINATIONS["everything"]], ids=["default", "everything"])
def test_a_project_of_cookiecutter_can_be_linked(
    shell: Shell, tmp_path: Path, answers: Answers
) -> None:
    section = "Link a project that Cookiecutter generated"
    words = " ".join(f"{question}={answer}" for question, answer in answers.items())
    generated = documented(section, "uvx cookiecutter").partition(" project_name")[0]
    shell(f"{generated} {words}", tmp_path)
    project = tmp_path / "my-service"
    shell(f"git init -q && {COMMIT}", project)
    shell(about(documented(section, "uvx cruft link"), answers), project)
    shell(COMMIT, project)
    assert "---" not in shell(documented(section, "uvx cruft diff"), project)

    change: Answers = {"use_gzip": False}
    shell(about(ADD, change), project)
    fresh = generate(shell, tmp_path / "home", answers | change)
    assert contents(project) == contents(fresh)
    (project / "README.md").write_text("Mine.\n", encoding="utf-8")
    assert "-Mine." in shell(documented(section, "uvx cruft diff"), project, status=1)


@pytest.mark.slow
@pytest.mark.parametrize("directory", ["template", "a template"])
def test_the_commands_of_a_generated_readme_change_the_project(
    bake: Bake, shell: Shell, template: Path, tmp_path: Path, directory: str
) -> None:
    answers: Answers = {"project_name": "O'Brien's", "project_slug": "own", "use_gzip": False}
    source = tmp_path / directory
    source.symlink_to(template)
    words = " ".join(shlex.quote(f"{question}={answer}") for question, answer in answers.items())
    shell(f"uvx cookiecutter '{source}' --no-input {words}", tmp_path)
    project = tmp_path / "own"
    shell(f"git init -q && {COMMIT}", project)

    readme = (project / "README.md").read_text(encoding="utf-8")
    again, update = re.findall(r"^```sh\n(uvx .*?)^```$", readme, re.MULTILINE | re.DOTALL)
    shell(again, tmp_path / "home")
    assert contents(tmp_path / "home" / "own") == contents(project)
    shell(update, project)
    assert shell("git diff --name-only", project).split() == [
        ".copier-answers.yml",
        ".github/dependabot.yml",
        ".github/workflows/ci.yml",
        "README.md",
    ]
    found, expected = contents(project), contents(bake(**answers | {"ci": "none"}))
    for name in (f"'{source}'", str(source)):
        found["README.md"] = found["README.md"].replace(name.encode(), ADDRESS.encode())
    assert found == expected


@pytest.mark.slow
def test_a_project_can_be_updated_to_a_release(
    bake: Bake, shell: Shell, template: Path, tmp_path: Path
) -> None:
    if (commit := previous()) is None:
        pytest.skip("there is nothing to update from: this clone has no history")
    check = documented("Apply a release", "uvx cruft check")

    shell(f"{CREATE} --checkout {commit}", tmp_path)
    project = tmp_path / "my-service"
    answers = answers_of(project)
    before = contents(project)
    edited = ["app/core/paths.py"]
    write(project, own(before, edited))
    shell(f"git init -q && {COMMIT}", project)

    shell(check, project, status=1)
    shell(UPDATE, project)
    assert contents(project) == own(contents(bake(**answers)), edited)
    shell(COMMIT, project)
    shell(check, project)


@pytest.mark.slow
def test_the_error_for_a_missing_secret_has_the_command_that_makes_one(
    shell: Shell, tmp_path: Path
) -> None:
    project = generate(shell, tmp_path, {"database": "sqlite"})
    shell(about(ADD, {"use_api_key": True, "jwt": "issue"}), project)
    output = shell("DEBUG=false uv run -q python -c 'import app.main'", project, status=3)
    found = re.findall(r"^  (\w+): .*; make one with (python .*)$", output, re.MULTILINE)
    remedies = dict(found)
    assert set(remedies) == {"API_KEYS", "JWT_SECRET_KEY"}
    assert {line.partition(":")[0] for line in output.splitlines()[1:]} == {
        "  API_KEYS",
        "  JWT_SECRET_KEY",
        "  JWT_ISSUER",
        "  JWT_AUDIENCE",
    }

    # In development, the settings of the example suffice.
    shell(SETTINGS, project)
    example = (project / ".env.example").read_text(encoding="utf-8")
    assert sorted((project / ".env").read_text(encoding="utf-8").split()) == sorted(example.split())
    upgrade = documented("Add an option", "uv run alembic upgrade")
    add = documented("Add an option", "uv run alembic revision")
    shell(f"{upgrade} && {add} && {upgrade}", project)
    with serving(project) as service:
        assert service.get("/readyz").status == 200

    for variable, remedy in remedies.items():
        shell(
            f"sed -i /^{variable}=/d .env && echo {variable}=$(uv run -q {remedy}) >> .env", project
        )
    with serving(project, DEBUG="false", ALLOWED_HOSTS="127.0.0.1") as service:
        assert service.get("/readyz").status == 200


@pytest.mark.slow
def test_adding_and_removing_tables_keeps_one_line_of_revisions(
    shell: Shell, tmp_path: Path
) -> None:
    upgrade = documented("Add an option", "uv run alembic upgrade")
    add = documented("Add an option", "uv run alembic revision")
    remove = documented("Remove an option", "uv run alembic revision")
    project = generate(shell, tmp_path, NOTHING | {"database": "sqlite"})
    shell(upgrade, project)
    add_column(project, "colour")
    shell(f"{add} && {upgrade} && {CHECK} && {COMMIT}", project)

    initial = project / "migrations/versions/0001_initial.py"
    before = initial.read_bytes()
    shell(f"{about(ADD, {'jwt': 'issue'})} && {SETTINGS} && uv sync -q", project)
    assert initial.read_bytes() == before
    with serving(project) as service:
        assert service.get("/readyz").status == 503
    shell(f"{upgrade} && {add} && {upgrade} && {CHECK} && {COMMIT}", project)
    assert tables(project) == {"items", "users", "logins", "alembic_version"}
    with serving(project) as service:
        assert service.get("/readyz").status == 200

    shell(about(REMOVE, {"jwt": "none"}), project)
    shell(f"{remove} && {upgrade} && {CHECK} && {COMMIT}", project)
    assert tables(project) == {"items", "alembic_version"}
    assert "colour" in columns(project)

    # All revisions, down and up again.
    shell(f"uv run alembic downgrade base && {upgrade} && {CHECK}", project)
    assert "(head)" in shell("uv run alembic heads", project)


def add_column(project: Path, name: str) -> None:
    """Add a column to the table of items of a project."""
    models = project / "app/db/models.py"
    text = models.read_text(encoding="utf-8")
    line = f"    {name}: Mapped[str | None] = mapped_column(String(20))\n"
    changed = re.sub(r"^    created_at: ", lambda found: line + found[0], text, flags=re.MULTILINE)
    assert changed != text
    models.write_text(changed, encoding="utf-8")


def tables(project: Path) -> set[str]:
    """Return the names of the tables of a project."""
    return names(project, "SELECT name FROM sqlite_master WHERE type = 'table'")


def columns(project: Path) -> set[str]:
    """Return the names of the columns of the table of items."""
    return names(project, "SELECT name FROM pragma_table_info('items')")


def names(project: Path, query: str) -> set[str]:
    """Return the first column of a query on the database of a project."""
    with closing(sqlite3.connect(project / "app.db")) as connection:
        return {row[0] for row in connection.execute(query)}
