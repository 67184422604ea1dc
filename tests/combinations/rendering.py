"""Render projects in memory, each file only once for answers that do not change it."""

from functools import cache
from pathlib import Path
from typing import Any

from cookiecutter.utils import create_env_with_context
from jinja2 import nodes

from tests.support.options import DEFAULTS, Answer, Answers
from tests.support.template import (
    CONTEXT,
    TREE,
    files_below,
    is_copied,
    load_hook,
    template_files,
    with_derived,
)

Texts = dict[str, str]
"""The contents of the files of a project by path."""


class Template:
    """A file of the template, and the questions whose answers it depends on."""

    def __init__(self, path: str) -> None:
        environment = create_env_with_context({"cookiecutter": CONTEXT})
        self.path = path
        self.text = (TREE / path).read_bytes().decode("utf-8")
        self.questions: tuple[str, ...] = ()
        if not is_copied(path):
            self._whole = environment.from_string(self.text)
            parsed = environment.parse(self.text)
            drop_answers(parsed)
            self.questions = tuple(sorted(asked_by(parsed)))
            self._template = environment.from_string(parsed)
        self._texts: dict[tuple[Answer, ...], str] = {}

    def render(self, answers: Answers) -> str:
        """Return the rendered file, without its record of the answers."""
        if not self.questions:
            return self.text
        key = tuple([answers[question] for question in self.questions])
        text = self._texts.get(key)
        if text is None:
            # Rendered with these answers only, so a dependency on another one is an error.
            known = dict(zip(self.questions, key, strict=True))
            text = self._texts[key] = self._template.render(cookiecutter=known)
        return text

    def render_whole(self, answers: Answers) -> str:
        """Return the rendered file, with its record of the answers."""
        return self._whole.render(cookiecutter=answers) if self.questions else self.text


def drop_answers(parsed: nodes.Template) -> None:
    """Remove a loop over all answers: there would be as many texts as there are combinations."""
    containers: list[nodes.Template | nodes.If] = [parsed, *parsed.find_all(nodes.If)]
    for node in containers:
        node.body = [each for each in node.body if not repeats_answers(each)]


def repeats_answers(node: nodes.Node) -> bool:
    """Return whether a part of a template looks up answers by names in a variable."""
    looked_up = (found.node for found in node.find_all(nodes.Getitem))
    return isinstance(node, nodes.For) and any(
        isinstance(each, nodes.Name) and each.name == "cookiecutter" for each in looked_up
    )


def asked_by(parsed: nodes.Template) -> set[str]:
    """Return the questions whose answers a file of the template mentions."""
    return {
        node.attr
        for node in parsed.find_all(nodes.Getattr)
        if isinstance(node.node, nodes.Name) and node.node.name == "cookiecutter"
    }


@cache
def templates() -> list[Template]:
    """Return all files of the template."""
    return [Template(path) for path in sorted(template_files())]


@cache
def hook(name: str) -> Any:
    """Return a hook of the template."""
    return load_hook(name, DEFAULTS)


def problems(answers: Answers) -> list[str]:
    """Return the problems that the hook of the template finds in the answers."""
    found: list[str] = hook("pre_gen_project").problems(answers, [])
    return found


def render(answers: Answers) -> Texts:
    """Return the project for these answers, without `.env` and its record of the answers."""
    complete = with_derived(answers)
    return {template.path: template.render(complete) for template in unpruned(complete)}


def unpruned(complete: dict[str, Any]) -> list[Template]:
    """Return the files of a project with these answers, which include the derived ones."""
    pruned = {
        path
        for is_chosen, paths in hook("post_gen_project").manifest(complete)
        for path in paths
        if not is_chosen
    }
    return [template for template in templates() if template.path not in pruned]


def difference(answers: Answers, project: Path) -> set[str]:
    """Return the files that differ between a project on disk and in memory, except for `.env`."""
    complete = with_derived(answers)
    texts = {template.path: template.render_whole(complete) for template in unpruned(complete)}
    written = {path: (project / path).read_bytes() for path in files_below(project) - {".env"}}
    return {
        path
        for path in texts.keys() | written.keys()
        if path not in texts or written.get(path) != texts[path].encode()
    }
