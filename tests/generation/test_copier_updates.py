"""An owner changes an answer, or takes a release, with one command of Copier."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.conftest import Bake
from tests.generation.test_updates import (
    ADDRESS,
    COMMIT,
    Shell,
    contents,
    git,
    option_cases,
)
from tests.generation.test_updates import shell as shell
from tests.generation.test_updates import template as template
from tests.support.options import NOTHING, Answers
from tests.support.template import COPIER_ANSWERS

CREATE = f"uvx cookiecutter {ADDRESS} --no-input"
UPDATE = "uvx copier update --defaults"
CHANGE = f"{UPDATE} --vcs-ref :current:"

# What an owner adds to files that options change as well: the line before it, and the line itself.
EDITS = {
    "app/stack.py": ("    return [layer for layer", "    layers.append(mine.layer())\n"),
    "app/config.py": ("    model_config = ", "    mine: bool = False\n"),
    "app/api/__init__.py": ("    app.include_router(root.router)", "    # Mine.\n"),
    "pyproject.toml": ("[tool.uv]", "# Mine.\n"),
    ".env.example": ("DEBUG=true", "MINE=1\n"),
}
OWN = {"app/middleware/mine.py": b"MINE = True\n", "migrations/versions/0002_mine.py": b"# Mine.\n"}


def arguments(answers: Answers) -> str:
    """Return answers as Copier takes them."""
    words = [f"{name}={str(answer).lower()}" for name, answer in answers.items()]
    return " ".join(f"--data {word}" for word in words)


def generate(shell: Shell, directory: Path, answers: Answers) -> Path:
    """Generate a project with Cookiecutter, and commit it."""
    words = [f"{name}={str(answer).lower()}" for name, answer in answers.items()]
    shell(f"{CREATE} {' '.join(words)}", directory)
    project = directory / str(answers.get("project_slug", "my-service"))
    shell(f"git init -q && {COMMIT}", project)
    return project


def with_edits(files: dict[str, bytes]) -> dict[str, bytes]:
    """Return the files of a project with the work of its owner."""
    edited = dict(files) | OWN
    for path, (anchor, line) in EDITS.items():
        text = files[path].decode()
        assert anchor in text, f"{path} has no {anchor!r}"
        edited[path] = text.replace(anchor, line + anchor, 1).encode()
    return edited


def write(project: Path, files: dict[str, bytes]) -> None:
    """Write files into a project."""
    for path, content in files.items():
        (project / path).parent.mkdir(parents=True, exist_ok=True)
        (project / path).write_bytes(content)


def answers_of(project: Path) -> Answers:
    """Return the answers that the project has noted."""
    noted: Answers = yaml.safe_load((project / COPIER_ANSWERS).read_text(encoding="utf-8"))
    return noted


def without_initial_revision(files: dict[str, bytes]) -> dict[str, bytes]:
    """Return the files but the revision that no update changes."""
    return {path: text for path, text in files.items() if not path.endswith("0001_initial.py")}


@pytest.mark.parametrize(
    ("before", "change"),
    [
        pytest.param(
            before, change, id=name, marks=() if name == "use_gzip=True" else pytest.mark.slow
        )
        for name, before, change in option_cases()
    ],
)
def test_an_option_comes_and_goes(
    bake: Bake, shell: Shell, tmp_path: Path, before: Answers, change: Answers
) -> None:
    without, with_it = contents(bake(**before)), contents(bake(**before | change))
    project = generate(shell, tmp_path, before)
    assert contents(project) == without
    write(project, with_edits(without))
    shell(COMMIT, project)
    env = (project / ".env").read_bytes()
    initial = {path: text for path, text in without.items() if path.endswith("0001_initial.py")}

    shell(f"{CHANGE} {arguments(change)}", project)
    check(project, with_edits(with_it))
    assert answers_of(project).items() >= (before | change).items()

    shell(COMMIT, project)
    back = {question: before[question] for question in change}
    shell(f"{CHANGE} {arguments(back)}", project)
    check(project, with_edits(without))
    assert answers_of(project).items() >= before.items()
    assert (project / ".env").read_bytes() == env
    if "database" not in change:
        assert contents(project).items() >= initial.items()


def check(project: Path, expected: dict[str, bytes]) -> None:
    """Check that a project is a fresh one with the edits of its owner, without a conflict."""
    found = without_initial_revision(contents(project))
    assert [path for path, text in found.items() if b"<<<<<<<" in text] == []
    assert found == without_initial_revision(expected)


@pytest.mark.slow
def test_both_versions_of_a_line_are_there(shell: Shell, tmp_path: Path) -> None:
    project = generate(shell, tmp_path, NOTHING)
    example = project / ".env.example"
    text = example.read_text(encoding="utf-8")
    example.write_text(text.replace("NAME=my-service\n", "NAME=mine\nMINE=1\n"), encoding="utf-8")
    shell(COMMIT, project)
    shell(f"{CHANGE} --data use_gzip=true", project)
    text = example.read_text(encoding="utf-8")
    assert "<<<<<<< before updating" in text
    assert {"OTEL_SERVICE_NAME=mine", "MINE=1", "GZIP_MINIMUM_SIZE=1000"} <= set(text.splitlines())
    # What no option and no owner changed is not part of the conflict.
    marked = re.findall(r"<<<<<<<.*?>>>>>>>", text, re.DOTALL)
    assert "DEBUG" not in "".join(marked)
    shell("git reset -q --hard && git clean -fdq", project)
    assert shell("git status --short", project) == ""


@pytest.mark.slow
def test_what_the_template_rejects_changes_nothing(shell: Shell, tmp_path: Path) -> None:
    project = generate(shell, tmp_path, {})
    said = shell(f"{CHANGE} --data jwt=issue", project, status=1)
    assert "sqlite or postgresql" in said
    assert shell("git status --short", project) == ""


@pytest.mark.slow
def test_a_release_arrives(bake: Bake, shell: Shell, template: Path, tmp_path: Path) -> None:
    git(template, "tag", "v9.0.0")
    try:
        shell(f"{CREATE} --checkout v9.0.0 database=sqlite", tmp_path)
        project = tmp_path / "my-service"
        assert answers_of(project)["_commit"] == "v9.0.0"
        shell(f"git init -q && {COMMIT}", project)
        before = contents(project)
        write(project, with_edits(before))
        shell(COMMIT, project)

        readme = template / "{{cookiecutter.project_slug}}/README.md"
        text = readme.read_text(encoding="utf-8")
        readme.write_text(text + "\nNew in 9.1.\n", encoding="utf-8")
        git(template, "commit", "-q", "-a", "-m", "Release")
        git(template, "tag", "v9.1.0")
        git(template, "commit", "-q", "--allow-empty", "-m", "Not released")

        shell(UPDATE, project)
        expected = with_edits(before)
        expected["README.md"] += b"\nNew in 9.1.\n"
        assert contents(project) == expected
        assert answers_of(project)["_commit"] == "v9.1.0"
    finally:
        git(template, "reset", "-q", "--hard", "v9.0.0")
        git(template, "tag", "-d", "v9.0.0", "v9.1.0")


@pytest.mark.slow
def test_a_template_that_cannot_be_reached_changes_nothing(shell: Shell, tmp_path: Path) -> None:
    project = generate(shell, tmp_path, {})
    answers = project / COPIER_ANSWERS
    text = answers.read_text(encoding="utf-8")
    answers.write_text(text.replace(ADDRESS, f"git+file://{tmp_path}/nowhere"), encoding="utf-8")
    shell(COMMIT, project)
    with pytest.raises(AssertionError, match="nowhere"):
        shell(UPDATE, project)
    assert shell("git status --short", project) == ""


@pytest.mark.slow
def test_work_that_is_not_committed_is_not_touched(shell: Shell, tmp_path: Path) -> None:
    project = generate(shell, tmp_path, {})
    (project / "README.md").write_text("Mine.\n", encoding="utf-8")
    said = shell(f"{CHANGE} --data use_gzip=false", project, status=1)
    assert "repository is dirty" in said
    assert (project / "README.md").read_text(encoding="utf-8") == "Mine.\n"
    assert subprocess.check_output(["git", "diff", "--name-only"], cwd=project) == b"README.md\n"
