"""The GitHub workflows of the template: pinned actions, few permissions, and releases."""

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.template import ROOT

GITHUB = ROOT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
FORMS = [
    path for path in sorted((GITHUB / "ISSUE_TEMPLATE").glob("*.yml")) if path.stem != "config"
]


def load(path: Path) -> Any:
    """Return the content of a YAML file."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_actions_are_pinned_by_commit(path: Path) -> None:
    for action in re.findall(r"uses: (.*)", path.read_text(encoding="utf-8")):
        assert re.fullmatch(r"\./\.github/.*|[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_only_a_release_may_write(path: Path) -> None:
    workflow = load(path)
    assert workflow["permissions"] == {"contents": "read"}
    rights = {name: job.get("permissions") for name, job in workflow["jobs"].items()}
    assert {name for name, right in rights.items() if right} <= {"publish"}
    assert rights.get("publish") in (None, {"contents": "write"})
    for job in workflow["jobs"].values():
        for step in job.get("steps", []):
            if step.get("uses", "").startswith("actions/checkout@"):
                assert step["with"] == {"persist-credentials": False}


def test_a_release_waits_for_the_tests() -> None:
    assert load(GITHUB / "workflows" / "release.yml")["jobs"]["publish"]["needs"] == "test"


def publish(directory: Path, tag: str) -> subprocess.CompletedProcess[str]:
    """Run the last step of the release in a directory, with a `gh` that prints its arguments."""
    step = load(GITHUB / "workflows" / "release.yml")["jobs"]["publish"]["steps"][-1]
    gh = directory / "bin" / "gh"
    gh.parent.mkdir()
    gh.write_text('#!/bin/sh\necho "$@"\ncat notes.md\n', encoding="utf-8")
    gh.chmod(0o755)
    return subprocess.run(
        # The runner uses the same options.
        ["bash", "-e", "-c", step["run"]],
        cwd=directory,
        env=os.environ
        | {"GITHUB_REF_NAME": tag, "PATH": f"{gh.parent}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        encoding="utf-8",
    )


CHANGELOG = """# Changelog

## Unreleased

- Not yet.

## 1.2.0 (2026-11-22)

- New.

## 1.2.0.1

- Other.

## 1.1.0

"""


def test_a_release_has_its_section_of_the_changelog(tmp_path: Path) -> None:
    (tmp_path / "CHANGELOG.md").write_text(CHANGELOG, encoding="utf-8")
    (tmp_path / "pyproject.toml").write_text('version = "1.2.0"\n', encoding="utf-8")
    result = publish(tmp_path, "v1.2.0")
    assert result.returncode == 0, result.stderr
    command, *notes = result.stdout.splitlines()
    assert command == "release create v1.2.0 --verify-tag --title v1.2.0 --notes-file notes.md"
    assert list(filter(None, notes)) == ["- New."]


@pytest.mark.parametrize(
    ("tag", "version"),
    [
        pytest.param("v1.3.0", "1.3.0", id="no section"),
        pytest.param("v1.1.0", "1.1.0", id="an empty section"),
        pytest.param("v1.2.0", "1.1.0", id="another version in pyproject.toml"),
        pytest.param("v1.2", "1.2.0", id="half a version"),
    ],
)
def test_a_release_that_is_not_prepared_fails(tmp_path: Path, tag: str, version: str) -> None:
    (tmp_path / "CHANGELOG.md").write_text(CHANGELOG, encoding="utf-8")
    (tmp_path / "pyproject.toml").write_text(f'version = "{version}"\n', encoding="utf-8")
    result = publish(tmp_path, tag)
    assert result.returncode != 0
    assert "release create" not in result.stdout


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_issue_forms_are_valid(path: Path) -> None:
    form = load(path)
    assert {"name", "description", "body"} <= set(form)
    fields = [field for field in form["body"] if field["type"] != "markdown"]
    assert len({field["id"] for field in fields}) == len(fields)
    assert all(field["attributes"]["label"] for field in fields)


def test_a_bug_report_requires_answers_and_versions() -> None:
    fields = {field["id"]: field for field in load(GITHUB / "ISSUE_TEMPLATE" / "bug.yml")["body"]}
    for name in ("answers", "versions"):
        assert fields[name]["validations"]["required"]
