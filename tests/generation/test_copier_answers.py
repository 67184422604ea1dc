"""A project records the template that it came from, if that is certain."""

import os
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.support.options import DEFAULTS, Answers
from tests.support.template import COPIER_ANSWERS, load_hook

HOOK = load_hook("post_gen_project", dict(DEFAULTS))
TEMPLATE = "{" * 2 + "cookiecutter.project_slug}}"

Checkout = Callable[..., Path]


def git(directory: Path, *arguments: str) -> str:
    """Run git, and return what it prints."""
    name = ["-c", "user.name=Test", "-c", "user.email=test@example.com"]
    command = ["git", *name, *arguments]
    return subprocess.run(
        command, cwd=directory, check=True, capture_output=True, encoding="utf-8"
    ).stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A template of one file with a commit."""
    directory = tmp_path / "origin"
    (directory / TEMPLATE / "app").mkdir(parents=True)
    (directory / TEMPLATE / "app/main.py").write_text("", encoding="utf-8")
    (directory / "cookiecutter.json").write_text("{}", encoding="utf-8")
    git(directory, "init", "-q", "-b", "main")
    git(directory, "add", "--all")
    git(directory, "commit", "-q", "-m", "One")
    return directory


def clone(checkout: Path, *arguments: str) -> Path:
    """Return a clone of a repository beside it."""
    target = checkout.parent / "clone"
    git(checkout.parent, "clone", "-q", *arguments, checkout.as_uri(), str(target))
    return target


def source(template: str | Path, checkout: str | Path) -> dict[str, str] | None:
    """Return what the hook knows of a template."""
    found: dict[str, str] | None = HOOK.template_source(
        {"_template": str(template), "_repo_dir": str(checkout)}
    )
    return found


def test_a_checkout(checkout: Path) -> None:
    commit = git(checkout, "rev-parse", "HEAD")
    assert source(checkout, checkout) == {"_commit": commit, "_src_path": str(checkout)}


@pytest.mark.parametrize(
    ("template", "address"),
    [
        ("gh:OWNER/REPO", "gh:OWNER/REPO"),
        ("https://example.com/a/b.git", "https://example.com/a/b.git"),
        ("https://user:token@example.com/a@b", "https://example.com/a@b"),
        ("git@example.com:a/b.git", "git@example.com:a/b.git"),
    ],
)
def test_a_clone(checkout: Path, template: str, address: str) -> None:
    commit = git(checkout, "rev-parse", "HEAD")
    assert source(template, clone(checkout)) == {"_commit": commit, "_src_path": address}


def test_another_branch(checkout: Path) -> None:
    git(checkout, "switch", "-q", "-c", "feature/one")
    git(checkout, "commit", "-q", "--allow-empty", "-m", "Two")
    found = source("gh:a/b", clone(checkout, "--branch", "feature/one"))
    assert found
    assert found["_commit"] == git(checkout, "rev-parse", "HEAD")


@pytest.mark.parametrize("kind", [["v1.2.0"], ["-a", "-m", "Release", "v1.2.0"]])
def test_a_release_is_named(checkout: Path, kind: list[str]) -> None:
    git(checkout, "tag", *kind)
    git(checkout, "tag", "other")
    found = source("gh:a/b", clone(checkout, "--branch", "v1.2.0"))
    assert found
    assert found["_commit"] == "v1.2.0"


def test_packed_references(checkout: Path) -> None:
    git(checkout, "tag", "v1.0.0")
    git(checkout, "pack-refs", "--all")
    found = source(checkout, checkout)
    assert found
    assert found["_commit"] == "v1.0.0"


def test_a_loose_tag_beside_a_directory_of_tags(checkout: Path) -> None:
    git(checkout, "tag", "v1.0.0")
    git(checkout, "tag", "deploy/v2")
    found = source(checkout, checkout)
    assert found
    assert found["_commit"] == "v1.0.0"


def test_a_work_tree(checkout: Path) -> None:
    target = checkout.parent / "tree"
    git(checkout, "worktree", "add", "-q", "-b", "other", str(target))
    commit = git(checkout, "rev-parse", "HEAD")
    assert source(target, target) == {"_commit": commit, "_src_path": str(target)}


def change(checkout: Path) -> None:
    (checkout / TEMPLATE / "app/main.py").write_text("changed", encoding="utf-8")


def stage(checkout: Path) -> None:
    change(checkout)
    git(checkout, "add", "--all")


def touch(checkout: Path) -> None:
    os.utime(checkout / TEMPLATE / "app/main.py", ns=(1, 1))


def add(checkout: Path) -> None:
    (checkout / TEMPLATE / "app/new.py").write_text("", encoding="utf-8")


def remove(checkout: Path) -> None:
    (checkout / TEMPLATE / "app/main.py").unlink()


def forget(checkout: Path) -> None:
    (checkout / ".git/refs/heads/main").unlink()


def upgrade(checkout: Path) -> None:
    git(checkout, "update-index", "--index-version", "4")


def cut(checkout: Path) -> None:
    index = checkout / ".git/index"
    index.write_bytes(index.read_bytes()[:40])


@pytest.mark.parametrize("spoil", [change, stage, touch, add, remove, forget, upgrade, cut])
def test_what_is_not_certain_is_not_written(
    checkout: Path,
    spoil: Callable[[Path], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spoil(checkout)
    assert written(checkout, checkout, tmp_path, monkeypatch) is None


def written(
    template: str | Path, checkout: str | Path, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> str | None:
    """Return what the hook writes for the template, if anything."""
    project = directory / "project"
    project.mkdir()
    (project / COPIER_ANSWERS).write_text("", encoding="utf-8")
    monkeypatch.chdir(project)
    answers = DEFAULTS | {"_template": str(template), "_repo_dir": str(checkout)}
    HOOK.write_copier_answers(answers)
    path = project / COPIER_ANSWERS
    return path.read_text(encoding="utf-8") if path.exists() else None


def test_what_running_the_service_leaves_does_not_matter(checkout: Path) -> None:
    for name in ("uv.lock", "__pycache__/main.pyc"):
        (checkout / TEMPLATE / name).parent.mkdir(exist_ok=True)
        (checkout / TEMPLATE / name).write_text("", encoding="utf-8")
    assert source(checkout, checkout)


@pytest.mark.parametrize("directory", ["", ".", "origin"])
def test_a_repository_of_the_user_is_not_taken_for_the_template(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, directory: str
) -> None:
    monkeypatch.chdir(checkout.parent if directory == "origin" else checkout)
    assert source(directory, directory) is None


def test_an_archive(checkout: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "template.zip", "w") as archive:
        archive.write(checkout / "cookiecutter.json", "cookiecutter.json")
    with zipfile.ZipFile(tmp_path / "template.zip") as archive:
        archive.extractall(tmp_path / "unpacked")
    assert source(tmp_path / "template.zip", tmp_path / "unpacked") is None


def test_without_any_of_it_as_under_cruft() -> None:
    assert HOOK.template_source({}) is None


def test_the_answers_are_yaml(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = written("gh:a/b", clone(checkout), tmp_path, monkeypatch)
    assert text
    answers: Answers = yaml.safe_load(text)
    commit = git(checkout, "rev-parse", "HEAD")
    assert answers == DEFAULTS | {"_commit": commit, "_src_path": "gh:a/b"}


@pytest.mark.parametrize("answer", ['it\'s "x" \\n {{ 7 }} # 🚀 [x]', "", "yes", "1", " a: b "])
def test_any_text_is_kept(answer: str) -> None:
    assert yaml.safe_load(f"key: {HOOK.quoted(answer)}") == {"key": answer}
