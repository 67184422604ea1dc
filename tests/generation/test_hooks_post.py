"""What the hook post_gen_project removes, writes and prints."""

import ast
import os
import stat
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.conftest import Bake
from tests.support.options import DEFAULTS
from tests.support.template import (
    cookiecutter,
    files_below,
    hook_source,
    imports,
    load_hook,
    rendered_hook,
    with_derived,
)

HOOK = load_hook("post_gen_project", DEFAULTS)
EXAMPLE = """\
# Replace change-me before you deploy.
#API_KEY=change-me
DEBUG=true
API_KEYS=change-me
JWT_SECRET_KEY = change-me
URL=postgresql://user:change-me-too@localhost/app
EMPTY=
"""


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a new, empty directory, which is the current directory."""
    new = tmp_path / "new"
    new.mkdir()
    monkeypatch.chdir(new)
    return new


def fill(directory: Path, paths: Iterable[str]) -> None:
    """Write a file at each path, which contains its path."""
    for path in paths:
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / path).write_text(path, encoding="utf-8")


def test_the_source_is_python_with_few_imports() -> None:
    ast.parse(hook_source("post_gen_project"))
    assert imports(hook_source("post_gen_project")) == {"json", "os", "sys", "shutil"}


def test_only_files_of_options_that_were_not_chosen_are_removed(directory: Path) -> None:
    fill(directory, ["app/a.py", "app/b.py", "app/c.py", "tests/test_b.py"])
    HOOK.prune([(True, ["app/a.py"]), (False, ["app/b.py", "tests/test_b.py"])])
    assert files_below(directory) == {"app/a.py", "app/c.py"}


@pytest.mark.parametrize("is_chosen", [True, False])
def test_a_missing_file_of_the_manifest_is_an_error(directory: Path, is_chosen: bool) -> None:
    fill(directory, ["a", "b", "directory/file"])
    with pytest.raises(SystemExit) as stopped:
        HOOK.prune([(False, ["a"]), (is_chosen, ["b", "missing"]), (is_chosen, ["directory"])])
    assert "bug in the template" in str(stopped.value.code)
    assert "(missing, directory)" in str(stopped.value.code)
    assert files_below(directory) == {"a", "b", "directory/file"}


def test_empty_directories_are_removed(directory: Path) -> None:
    fill(directory, ["app/kept/a.py"])
    (directory / "app/gone/deeper/still").mkdir(parents=True)
    (directory / "gone").mkdir()
    HOOK.tidy(".")
    assert {path.name for path in directory.rglob("*")} == {"app", "kept", "a.py"}


def test_what_running_the_service_leaves_is_removed(directory: Path) -> None:
    fill(
        directory,
        [
            ".env",
            "app.db",
            "app.db-wal",
            "app/a.py",
            "app/__pycache__/a.pyc",
            "app/only/__pycache__/b.pyc",
            ".mypy_cache/3.11/a.json",
            ".pytest_cache/README.md",
            ".ruff_cache/x",
            ".venv/lib/x",
            ".coverage",
            "uv.lock",
        ],
    )
    HOOK.tidy(".")
    assert files_below(directory) == {"app/a.py"}
    assert not (directory / "app/only").exists()


def test_a_git_repository_is_not_changed(directory: Path) -> None:
    fill(directory, [".git/HEAD", ".git/uv.lock"])
    (directory / ".git/refs/tags").mkdir(parents=True)
    HOOK.tidy(".")
    assert (directory / ".git/refs/tags").is_dir()
    assert files_below(directory) == {".git/HEAD", ".git/uv.lock"}


def test_links_are_not_followed(directory: Path) -> None:
    outside = directory.parent / "outside"
    fill(outside, ["__pycache__/kept"])
    (outside / "empty").mkdir()
    (directory / "link").symlink_to(outside)
    (directory / ".venv").symlink_to(outside)
    HOOK.tidy(".")
    assert (outside / "empty").is_dir()
    assert (outside / "__pycache__/kept").is_file()


def env_values() -> dict[str, str]:
    """Return the variables in `.env`."""
    lines = Path(".env").read_text(encoding="utf-8").splitlines()
    pairs = (line.split("=", 1) for line in lines if not line.startswith("#"))
    return {name.strip(): value for name, value in pairs}


def test_env_has_a_fresh_secret_for_each_placeholder(directory: Path) -> None:
    Path(".env.example").write_text(EXAMPLE, encoding="utf-8")
    HOOK.write_env()
    first = env_values()
    Path(".env").unlink()
    HOOK.write_env()
    secrets = [values.pop(name) for values in (first, env_values()) for name in list(values)[1:3]]
    assert len(set(secrets)) == 4
    for secret in secrets:
        assert len(bytes.fromhex(secret)) == 32


def test_env_differs_from_the_example_only_in_the_secrets(directory: Path) -> None:
    Path(".env.example").write_text(EXAMPLE, encoding="utf-8")
    HOOK.write_env()
    example, env = EXAMPLE.splitlines(), Path(".env").read_text(encoding="utf-8").splitlines()
    changed = [old for old, new in zip(example, env, strict=True) if old != new]
    assert changed == ["API_KEYS=change-me", "JWT_SECRET_KEY = change-me"]


def test_only_the_owner_may_read_env(directory: Path) -> None:
    Path(".env.example").write_text(EXAMPLE, encoding="utf-8")
    HOOK.write_env()
    assert stat.S_IMODE(Path(".env").stat().st_mode) == 0o600


def run(directory: Path, stdout: int = subprocess.PIPE) -> subprocess.CompletedProcess[str]:
    """Run the hook as Cookiecutter does."""
    script = directory.parent / "hook.py"
    script.write_text(rendered_hook("post_gen_project", with_derived(DEFAULTS)), encoding="utf-8")
    command = [sys.executable, str(script)]
    return subprocess.run(
        command, cwd=directory, stdout=stdout, stderr=subprocess.PIPE, encoding="utf-8"
    )


@pytest.fixture
def complete(directory: Path) -> Path:
    """Return a directory with all files of the manifest, as Cookiecutter leaves it to the hook."""
    fill(directory, [path for _, paths in HOOK.manifest(with_derived(DEFAULTS)) for path in paths])
    Path(".env.example").write_text(EXAMPLE, encoding="utf-8")
    return directory


def test_it_prints_the_next_steps(complete: Path) -> None:
    result = run(complete)
    assert (result.returncode, result.stderr) == (0, "")
    commands = ["cd my-service", "uv run uvicorn app.main:app --reload", "uv run pytest"]
    assert [line.strip() for line in result.stdout.splitlines() if line[:2] == "  "] == commands


def test_a_closed_standard_output_is_not_an_error(
    complete: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)  # with it, every write fails at once
    read, write = os.pipe()
    os.close(read)
    result = run(complete, stdout=write)
    os.close(write)
    assert (result.returncode, result.stderr) == (0, "")


def test_an_unexpected_error_is_reported_on_one_line(complete: Path) -> None:
    Path(".env.example").unlink()
    result = run(complete)
    assert result.returncode == 1
    assert result.stderr.startswith("ERROR: The project could not be completed: FileNotFoundError")
    assert result.stderr.count("\n") == 1


def test_two_projects_differ_only_in_env(bake: Bake) -> None:
    one, other = bake(use_api_key=True), bake(use_api_key=True)
    paths = files_below(one)
    assert paths == files_below(other)
    differing = {path for path in paths if (one / path).read_bytes() != (other / path).read_bytes()}
    assert differing == {".env"}


def test_a_project_can_be_generated_into_a_new_git_repository(tmp_path: Path) -> None:
    project = tmp_path / "out" / "my-service"
    fill(project, [".git/HEAD", ".git/hooks/uv.lock"])
    (project / ".git/refs/tags").mkdir(parents=True)
    assert cookiecutter("--no-input", "-f", output=tmp_path / "out").returncode == 0
    assert files_below(project / ".git") == {"HEAD", "hooks/uv.lock"}
    assert (project / ".git/refs/tags").is_dir()
    assert (project / "app/main.py").is_file()


def test_existing_files_are_never_changed(tmp_path: Path) -> None:
    project = tmp_path / "out" / "my-service"
    fill(project, [".env", ".git/HEAD", "app/main.py", "app/middleware/api_key.py", "uv.lock"])
    before = {path: (project / path).read_bytes() for path in files_below(project)}
    result = cookiecutter("--no-input", "-f", output=tmp_path / "out")
    assert result.returncode == 1
    assert "project_slug: the directory of this name is not empty" in result.stderr
    assert {path: (project / path).read_bytes() for path in files_below(project)} == before
