"""What CONTRIBUTING.md and the files for contributors say about the repository."""

import configparser
import re
import subprocess

import yaml

from tests.support.template import ROOT, TREE

CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
CI = (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_most_layers_are_as_long_as_it_says() -> None:
    [(least, most)] = re.findall(r"Most layers have (\d+) to (\d+) lines", CONTRIBUTING)
    modules = [path for path in (TREE / "app" / "middleware").glob("*.py") if path.stat().st_size]
    lengths = {path.stem: path.read_text(encoding="utf-8").count("\n") for path in modules}
    others = {name for name in lengths if not int(least) <= lengths[name] <= int(most)}
    assert len(others) <= len(lengths) / 10, others


def test_it_names_each_group_of_tests() -> None:
    groups = {path.parent.name for path in (ROOT / "tests").glob("*/__init__.py")}
    assert set(re.findall(r"^\| `tests/(\w+)/` \|", CONTRIBUTING, re.MULTILINE)) == groups


def test_a_commit_is_checked_with_the_commands_of_ci() -> None:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    entries = {hook["id"]: hook["entry"] for repo in config["repos"] for hook in repo["hooks"]}
    for name in ("ruff-check", "ruff-format", "mypy"):
        assert f"\n{entries[name].removesuffix(' --fix')}" in CI


def test_text_files_follow_the_editor_settings() -> None:
    generated = TREE / ".editorconfig"
    text = (ROOT / ".editorconfig").read_text(encoding="utf-8")
    assert text == generated.read_text(encoding="utf-8")
    rules = configparser.ConfigParser()
    rules.read_string(f"[top]\n{text}")
    assert rules["*"]["insert_final_newline"] == rules["*"]["trim_trailing_whitespace"] == "true"
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, encoding="utf-8"
    ).stdout
    for name in filter(None, listed.split("\0")):
        content = (ROOT / name).read_bytes() if (ROOT / name).is_file() else b""
        assert content.endswith(b"\n") or not content, name
        assert not re.search(rb"[ \t\r]$", content, re.MULTILINE), name
