"""What Cookiecutter generates, in memory: a file once for all answers that it is the same for."""

from functools import cache
from pathlib import Path
from typing import Any

from cookiecutter.utils import create_env_with_context
from jinja2 import nodes

from tests.picks import DEFAULTS, Answer, Answers
from tests.template import CONTEXT, TREE, files_below, is_copied, load_hook, template_files

Texts = dict[str, str]
"""What the files of a project say, by path."""


class Template:
    """A file of the template, and the questions whose answers it depends on."""

    def __init__(self, path: str) -> None:
        environment = create_env_with_context({"cookiecutter": CONTEXT})
        self.path = path
        self.text = (TREE / path).read_bytes().decode("utf-8")
        self.questions: tuple[str, ...] = ()
        if not is_copied(path):
            parsed = environment.parse(self.text)
            self.questions = tuple(sorted(asked_by(parsed)))
            self._template = environment.from_string(parsed)
        self._texts: dict[tuple[Answer, ...], str] = {}

    def render(self, answers: Answers) -> str:
        """Return what the file says after these answers."""
        if not self.questions:
            return self.text
        key = tuple([answers[question] for question in self.questions])
        text = self._texts.get(key)
        if text is None:
            # It is given no other answers, so it cannot depend on them: one more is an error.
            known = dict(zip(self.questions, key, strict=True))
            text = self._texts[key] = self._template.render(cookiecutter=known)
        return text


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
    """Return why the template's own hook refuses the answers."""
    found: list[str] = hook("pre_gen_project").problems(answers, [])
    return found


def render(answers: Answers) -> Texts:
    """Return the project that Cookiecutter generates after these answers, but for `.env`."""
    pruned = {
        path
        for picked, paths in hook("post_gen_project").manifest(answers)
        for path in paths
        if not picked
    }
    return {
        template.path: template.render(answers)
        for template in templates()
        if template.path not in pruned
    }


def difference(answers: Answers, project: Path) -> set[str]:
    """Return the files in which a project on disk is not the one in memory, but for `.env`."""
    texts = render(answers)
    written = {path: (project / path).read_bytes() for path in files_below(project) - {".env"}}
    return {
        path
        for path in texts.keys() | written.keys()
        if path not in texts or written.get(path) != texts[path].encode()
    }
