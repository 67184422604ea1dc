"""The template under test: its directory, its hooks, its files and its command."""

import ast
import fnmatch
import json
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path, PurePosixPath
from types import ModuleType
from typing import Any

from cookiecutter.utils import create_env_with_context
from jinja2 import Template

from tests.support.options import QUESTIONS, Answers

ROOT = Path(__file__).resolve().parents[2]
TREE = ROOT / "{{cookiecutter.project_slug}}"
CONTEXT: dict[str, Any] = json.loads((ROOT / "cookiecutter.json").read_text(encoding="utf-8"))


def hook_source(name: str) -> str:
    """Return the source of a hook."""
    return (ROOT / "hooks" / f"{name}.py").read_text(encoding="utf-8")


@cache
def hook_template(name: str) -> Template:
    """Return a hook as a Jinja template."""
    environment = create_env_with_context({"cookiecutter": CONTEXT})
    template: Template = environment.from_string(hook_source(name))
    return template


def rendered_hook(name: str, answers: dict[str, Any]) -> str:
    """Return the program that Cookiecutter runs as a hook for these answers."""
    return hook_template(name).render(cookiecutter=answers)


def load_hook(name: str, answers: dict[str, Any]) -> Any:
    """Return a hook as a module, rendered for these answers."""
    module = ModuleType(name)
    exec(compile(rendered_hook(name, answers), f"hooks/{name}.py", "exec"), module.__dict__)
    return module


@cache
def derived_templates() -> dict[str, Template]:
    """Return the templates of the derived answers by name."""
    environment = create_env_with_context({"cookiecutter": CONTEXT})
    names = [name for name in CONTEXT if name.startswith("__") and name != "__prompts__"]
    return {name: environment.from_string(CONTEXT[name]) for name in names}


def with_derived(answers: dict[str, Any]) -> dict[str, Any]:
    """Return the answers together with those that Cookiecutter adds, and the derived ones."""
    complete = {"_template": str(ROOT)} | answers
    for name, template in derived_templates().items():
        complete[name] = template.render(cookiecutter=complete)
    return complete


def imports(source: str) -> set[str]:
    """Return the modules that a program imports anywhere."""
    nodes = list(ast.walk(ast.parse(source)))
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return plain | {str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)}


def copy_checkout(target: Path) -> None:
    """Copy this repository to `target`, uncommitted changes included."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        encoding="utf-8",
    )
    for path in filter(None, listed.stdout.split("\0")):
        (target / path).unlink(missing_ok=True)
        if (ROOT / path).is_file():
            (target / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / path, target / path)


# Whether a project has it depends on the state of the checkout that it is generated from.
COPIER_ANSWERS = ".copier-answers.yml"


def files_below(directory: Path) -> set[str]:
    """Return the paths of all files below `directory` but COPIER_ANSWERS, with slashes."""
    paths = {
        path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file()
    }
    return paths - {COPIER_ANSWERS}


@cache
def template_files() -> frozenset[str]:
    """Return the files of the template directory, except what running the service leaves there."""
    strays: set[str] = load_hook("post_gen_project", {}).STRAYS
    return frozenset(path for path in files_below(TREE) if strays.isdisjoint(path.split("/")))


def is_copied(path: str) -> bool:
    """Return whether Cookiecutter copies a file, or one of its directories, without rendering."""
    ancestors = [str(parent) for parent in PurePosixPath(path).parents]
    return any(
        fnmatch.fnmatchcase(candidate, pattern)
        for candidate in [path, *ancestors]
        for pattern in CONTEXT["_copy_without_render"]
    )


def cookiecutter(
    *arguments: str, output: Path, typed: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Run Cookiecutter on this template. Projects go to the directory `output`.

    `typed`: the input at the prompts. The home directory is a new one beside the output, so that
    the developer's own configuration has no effect.
    """
    home = output.parent / "home"
    home.mkdir(exist_ok=True)
    return subprocess.run(
        [sys.executable, "-m", "cookiecutter", str(ROOT), "-o", str(output), *arguments],
        env=os.environ | {"HOME": str(home), "USERPROFILE": str(home), "PYTHONUTF8": "1"},
        input=typed,
        capture_output=True,
        encoding="utf-8",
        timeout=60,
    )


def typing(answers: Answers) -> str:
    """Return the input at the prompts that gives these answers, and the defaults otherwise."""
    lines = []
    for question, default in QUESTIONS.items():
        answer = answers.get(question)
        if answer is None:
            lines.append("")
        elif isinstance(default, list):
            lines.append(str(default.index(str(answer)) + 1))
        elif isinstance(default, bool):
            lines.append("y" if answer else "n")
        else:
            lines.append(str(answer))
    return "\n".join([*lines, ""])
