"""Writes copier.yml: `uv run python -m tests.support.copier_config`.

It is made of the questions and the manifest. Copier runs no hook of a template that is not trusted,
so what the hooks of Cookiecutter do becomes data: a validator for each question, and a pattern with
a condition for each row of the manifest.
"""

import itertools
import json
import math
from collections.abc import Callable
from typing import Any

import yaml

from tests.combinations.answers import CHOICES
from tests.support.options import DEFAULTS, NOTHING, QUESTIONS, Answer, Answers
from tests.support.template import CONTEXT, ROOT, load_hook, template_files, with_derived

PATH = ROOT / "copier.yml"
HEADER = """\
# The questions for Copier. Generated from cookiecutter.json and hooks/ by
# `uv run python -m tests.support.copier_config`; a test fails while it is not up to date.
"""

Condition = frozenset[tuple[tuple[str, Answer], ...]]
"""The combinations of answers that bring a file, each with the same questions."""


def condition_of(number: int, manifest: Callable[[Answers], Any]) -> Condition:
    """Return the condition of a row of the manifest."""
    base = DEFAULTS | NOTHING

    def is_included(answers: Answers) -> bool:
        included: bool = manifest(with_derived(base | answers))[number][0]
        return included

    # A question matters if another answer to it makes a difference to some answers.
    matters = {
        question
        for question in CHOICES
        for other in CHOICES
        for choice in CHOICES[other]
        if len({is_included({other: choice, question: answer}) for answer in CHOICES[question]}) > 1
    }
    questions = sorted(matters)
    return frozenset(
        tuple(zip(questions, answers, strict=True))
        for answers in itertools.product(*(CHOICES[question] for question in questions))
        if is_included(dict(zip(questions, answers, strict=True)))
    )


def conditions() -> dict[str, Condition]:
    """Return the condition of each file that is not always there."""
    hook = load_hook("post_gen_project", dict(DEFAULTS))
    found: dict[str, Condition] = {}
    for number, (_, paths) in enumerate(hook.manifest(with_derived(DEFAULTS))):
        condition = condition_of(number, hook.manifest)
        found |= dict.fromkeys(paths, condition)
    return found


def directories(files: dict[str, Condition]) -> dict[str, str]:
    """Return the condition of each directory that some projects do not have."""
    found: dict[str, str] = {}
    parents = {path.rpartition("/")[0] for path in template_files()}
    parents |= {parent.rpartition("/")[0] for parent in parents}
    for directory in sorted(filter(None, parents)):
        below = [path for path in template_files() if path.startswith(f"{directory}/")]
        if all(path in files for path in below):
            found[directory] = " or ".join(sorted({expression(files[path]) for path in below}))
    return found


def expression(condition: Condition) -> str:
    """Return a condition in Jinja: an or of answers if it is one, else an and of choices."""
    questions = [question for question, _ in min(condition, key=str)]
    answers = {question: {dict(each)[question] for each in condition} for question in questions}
    everything = set(itertools.product(*(CHOICES[question] for question in questions)))
    missing = everything - {tuple(answer for _, answer in each) for each in condition}
    lacking = {
        question: {answers[place] for answers in missing}
        for place, question in enumerate(questions)
    }
    if len(missing) == math.prod(map(len, lacking.values())):
        terms = [
            term(question, set(CHOICES[question]) - lacking[question]) for question in questions
        ]
        return " or ".join(terms)
    assert len(condition) == math.prod(map(len, answers.values())), condition
    return "(" + " and ".join(term(question, answers[question]) for question in questions) + ")"


def term(question: str, answers: set[Answer]) -> str:
    """Return in Jinja that the answer to a question is one of these."""
    if answers == {True}:
        return question
    if answers == {False}:
        return f"not {question}"
    others = set(CHOICES[question]) - answers
    if len(others) == 1:
        return f'{question} != "{others.pop()}"'
    return " or ".join(f'{question} == "{answer}"' for answer in sorted(map(str, answers)))


def exclusions() -> list[str]:
    """Return a pattern for each file and directory that some projects do not have."""
    strays = sorted(load_hook("post_gen_project", dict(DEFAULTS)).STRAYS)
    files = conditions()
    owned = {path: expression(files[path]) for path in files} | directories(files)
    paths = sorted(owned, key=lambda path: (owned[path], path))
    grouped = itertools.groupby(paths, key=lambda path: owned[path])
    return strays + [
        "# {% if not ("
        + condition
        + ") %}\n"
        + "".join(f"/{path}\n" for path in paths)
        + "# {% endif %}\n"
        for condition, paths in grouped
    ]


def either(problem: str, condition: str) -> str:
    """Return an expression in Jinja: the problem if the condition holds, else nothing."""
    return "{{ " + json.dumps(problem) + " if " + condition + " else '' }}"


def text_validator(question: str, hook: dict[str, Any]) -> str:
    """Return the rules of pre_gen_project for a question in free text, in Jinja."""
    unsafe = "".join(f"\\u{first:04x}-\\u{last:04x}" for first, last in hook["UNSAFE_RANGES"])
    rules = [
        (
            f"answer with at most {hook['TEXT_LENGTH']} characters",
            f"{question} | length > {hook['TEXT_LENGTH']}",
        ),
        (
            "it holds unsafe characters; answer without them",
            f'{question} | regex_search("[{unsafe}]")',
        ),
    ]
    if question == "project_name":
        rules.append(("it is blank; answer with a name", f"not {question} | trim"))
    if question == "author_email":
        part = '[^@<>()\\\\[\\\\],;:\\"\\\\\\\\\\\\s]+'
        rules.append(
            (
                "answer with an address such as you@example.com, or with nothing",
                f'{question} and not {question} | regex_search("^{part}@{part}\\\\Z")',
            )
        )
    if question == "project_slug":
        devices = json.dumps(sorted(hook["WINDOWS_DEVICES"]))
        packages = json.dumps(sorted(hook["DEPENDENCIES"]))
        rules += [
            (
                "answer with ASCII letters, digits, '-', '_' and '.', a letter or a digit first and"
                f" last, at most {hook['SLUG_LENGTH']} of them",
                f"{question} | length > {hook['SLUG_LENGTH']} or not {question} | "
                'regex_search("^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?\\\\Z")',
            ),
            (
                "it is a device on Windows; answer with another name",
                f"({question} | lower).split('.')[0] in {devices}",
            ),
            (
                "it is a package that the service depends on; answer with another name",
                f'{question} | lower | regex_replace("[-_.]+", "-") in {packages}',
            ),
        ]
    return "".join(either(problem, condition) for problem, condition in rules)


def questions() -> dict[str, dict[str, Any]]:
    """Return the questions as Copier asks them."""
    hook = vars(load_hook("pre_gen_project", dict(DEFAULTS)))
    prompts = CONTEXT["__prompts__"]
    asked: dict[str, dict[str, Any]] = {}
    for question, default in QUESTIONS.items():
        prompt = prompts[question]
        if isinstance(default, list):
            labels = {prompt[choice]: choice for choice in default}
            asked[question] = {
                "type": "str",
                "help": prompt["__prompt__"],
                "choices": labels,
                "default": default[0],
            }
        elif isinstance(default, bool):
            asked[question] = {"type": "bool", "help": prompt, "default": default}
        else:
            asked[question] = {
                "type": "str",
                "help": prompt,
                "default": default,
                "validator": text_validator(question, hook),
            }
    asked["project_slug"]["default"] = SLUG
    asked["jwt"]["validator"] = either(
        "issue keeps users in a database; answer database with sqlite or postgresql",
        "jwt == 'issue' and database == 'none'",
    )
    return asked


# What slugify makes of most names. Letters beyond ASCII are left out: answer otherwise.
SLUG = (
    "{{ project_name | lower | regex_replace('[^a-z0-9]+', '-') | truncate(64, true, '')"
    " | regex_replace('^-|-$', '') or 'service' }}"
)


def computed() -> dict[str, dict[str, Any]]:
    """Return what the template reads answers from: a mapping with the computed ones."""
    plain = ", ".join(f'"{question}": {question}' for question in QUESTIONS)
    derived = {
        name: text.removeprefix("{{").removesuffix("}}").strip().replace("cookiecutter.", "")
        for name, text in CONTEXT.items()
        if name.startswith("__") and name not in ("__prompts__", "__directory")
    }
    derived["_template"] = "_copier_answers._src_path"
    more = ", ".join(f'"{name}": {text}' for name, text in derived.items())
    return {
        "cookiecutter": {
            "type": "json",
            "default": "{{ {" + plain + ", " + more + "} | to_json }}",
            "when": False,
        }
    }


def config() -> dict[str, Any]:
    """Return what is in copier.yml."""
    return {
        "_min_copier_version": "9.10.0",
        "_subdirectory": "{{ '{{cookiecutter.project_slug}}' }}",
        "_templates_suffix": "",
        "_envops": {
            **CONTEXT["_jinja2_env_vars"],
            "keep_trailing_newline": True,
            "undefined": "jinja2.StrictUndefined",
        },
        "_exclude": exclusions(),
        "_skip_if_exists": [".env", "/migrations/versions/*"],
        "_message_after_copy": MESSAGE,
        **questions(),
        **computed(),
    }


MESSAGE = """\
Your service is ready. Next:

  cd {{ _copier_conf.dst_path }}
  cp .env.example .env
  uv run uvicorn app.main:app --reload
  uv run pytest
"""


class Dumper(yaml.SafeDumper):  # type: ignore[misc]
    """Writes text of several lines as a block."""


def represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    """Return text as a block if it has several lines, else as it fits."""
    return dumper.represent_scalar(
        "tag:yaml.org,2002:str", text, style="|" if "\n" in text else None
    )


Dumper.add_representer(str, represent_text)


def text() -> str:
    """Return copier.yml."""
    options = {"sort_keys": False, "allow_unicode": True, "width": 100}
    return f"{HEADER}{yaml.dump(config(), Dumper=Dumper, **options)}"


if __name__ == "__main__":
    PATH.write_text(text(), encoding="utf-8", newline="\n")
