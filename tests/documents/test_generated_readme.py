"""The README of a project: its settings, its commands, and how the project was generated."""

import filecmp
import re
import subprocess
import sys
from pathlib import Path
from secrets import token_hex

import pytest

from tests.combinations.rendering import Template
from tests.conftest import Bake, Projects
from tests.documents.test_readme import commands
from tests.generation.test_generated_text import HOSTILE
from tests.support.options import COMBINATIONS, DEFAULTS, EVERYTHING, FOR_COMPOSE, NOTHING, Answers
from tests.support.service import environment, serving
from tests.support.template import files_below, with_derived

SETTING = re.compile(r"^\| ((?:`[A-Z0-9_]+`(?:, )?)+) \|", re.MULTILINE)
DEFAULT = re.compile(r"^\| `([A-Z0-9_]+)` \| (?:`([^`]+)` )?\|", re.MULTILINE)

SERVED: dict[str, Answers] = {
    "default": {},
    "everything": EVERYTHING,
    "verify": NOTHING | {"jwt": "verify", "use_api_key": True, "database": "sqlite"},
    "sockets and tasks": NOTHING | {"use_websocket": True, "background_tasks": "fastapi"},
}
# The commands as a user types them, except that they stop at the first error.
SHELL = """
set -euo pipefail
curl() { command curl --fail-with-body --silent --show-error --noproxy '*' "$@"; }
"""


def readme_of(project: Path) -> str:
    """Return the README of a project."""
    return (project / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("combination", COMBINATIONS)
def test_the_table_has_every_setting(projects: Projects, combination: str) -> None:
    project = projects(combination)
    rows = SETTING.findall(readme_of(project))
    lines = (project / ".env.example").read_text(encoding="utf-8").splitlines()
    names = {line.partition("=")[0] for line in lines if not line.startswith("#")}
    assert {name for row in rows for name in re.findall(r"\w+", row)} == names - FOR_COMPOSE


@pytest.mark.parametrize(
    "answers",
    [
        {},
        NOTHING,
        EVERYTHING | {"project_slug": "own", "ci": "gitlab", "author_email": ""},
        HOSTILE,
        HOSTILE | {"project_name": "It's", "project_slug": "it-s.own", "description": "'a' \\' $b"},
    ],
)
def test_it_has_the_command_that_generates_the_same_project(
    bake: Bake, tmp_path: Path, answers: Answers
) -> None:
    project = bake(**answers)
    shown = [block.code for block in commands(project / "README.md")]
    (command,) = [code for code in shown if code.startswith("uvx cookiecutter")]
    given = {line.strip().partition("=")[0] for line in command.splitlines()[1:]}
    changed = {name for name, answer in answers.items() if answer != DEFAULTS[name]}
    # The name alone does not tell the slug: Copier derives it in another way.
    assert given == changed | ({"project_slug"} if "project_name" in changed else set())
    start = f"'{sys.executable}' -m cookiecutter -o '{tmp_path / 'out'}'"
    subprocess.run(
        ["bash", "-c", command.replace("uvx cookiecutter", start, 1)],
        env=environment(HOME=str(tmp_path)),
        check=True,
    )
    (again,) = (tmp_path / "out").iterdir()
    assert again.name == project.name
    assert files_below(again) == files_below(project)
    common = sorted(files_below(project) - {".env"})
    _, different, failed = filecmp.cmpfiles(project, again, common, shallow=False)
    assert (different, failed) == ([], [])


@pytest.mark.parametrize(
    ("template", "shown"),
    [
        ("gh:OWNER/REPO", "https://github.com/OWNER/REPO"),
        ("gl:OWNER/REPO", "https://gitlab.com/OWNER/REPO"),
        ("https://github.com/OWNER/REPO.git", "https://github.com/OWNER/REPO.git"),
        ("https://ada:s3cret@git.example.com/a/b", "https://git.example.com/a/b"),
        ("https://s3cret@example.com:8443/a/b", "https://example.com:8443/a/b"),
        ("https://git:s3cret@example.com/a/b", "https://example.com/a/b"),
        ("https://example.com/a.zip?token=s3cret", "https://example.com/a.zip"),
        ("git+https://ada:s3cret@example.com/a", "git+https://example.com/a"),
        ("ssh://git@example.com/a/b", "ssh://git@example.com/a/b"),
        ("git@github.com:OWNER/REPO.git", "git@github.com:OWNER/REPO.git"),
        ("/srv/templates/it's", "'/srv/templates/it'\\''s'"),
        (".", "TEMPLATE"),
        ("../REPO", "TEMPLATE"),
    ],
)
def test_it_names_the_template_that_it_came_from(template: str, shown: str) -> None:
    answers = with_derived(DEFAULTS) | {"_template": template}
    readme = Template("README.md").render_whole(answers)
    (line,) = re.findall(r"^uvx cookiecutter (.*) --no-input", readme, re.MULTILINE)
    assert line == shown
    assert "s3cret" not in readme
    assert ("TEMPLATE" in readme) == ("its path was given as" in readme)


# Prints one line per setting: its variable and its default in the format of `.env`.
PRINT_DEFAULTS = """
from app.config import Settings
for name, field in Settings.model_fields.items():
    default = "" if field.is_required() else field.default
    default = getattr(default, "get_secret_value", lambda: default)()
    default = ",".join(default) if isinstance(default, list) else default
    print(name.upper(), str(default).lower() if isinstance(default, bool) else default)
"""


def requested(script: str) -> set[tuple[str, str]]:
    """Return the methods and paths of the requests that a script sends with curl."""
    found = set()
    for line in re.findall(r"\bcurl (.*)", script):
        method = re.search(r"-X (\w+)", line)
        default = "POST" if re.search(r" (--json|-d) ", line) else "GET"
        path = line.partition("localhost:8000")[2]
        path = re.sub(r"/(1|\$TASK)$", "/{}", re.split(r"[\s\"]", path)[0])
        found.add((method[1] if method else default, path))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("combination", SERVED)
def test_its_requests_work_as_printed(install: Bake, combination: str) -> None:
    project = install(**SERVED[combination])
    asked = readme_of(project).partition("\n## Routes\n")[2].partition("\n## ")[0]
    blocks = re.findall(r"```sh\n(.*?)```", asked, re.DOTALL)
    script = "".join(blocks)
    if SERVED[combination].get("jwt") == "verify":
        # What the README says for those without a provider.
        with (project / ".env").open("a", encoding="utf-8") as env:
            env.write(f"JWT_SECRET_KEY={token_hex(32)}\n")
    with serving(project) as service:
        paths = service.get("/openapi.json").json()["paths"]
        routes = {
            (method.upper(), re.sub(r"{\w+}", "{}", path))
            for path in paths
            for method in paths[path]
        }
        assert requested(script) == routes
        script = script.replace("localhost:8000", service.address.removeprefix("http://"))
        result = subprocess.run(
            ["bash", "-c", SHELL + script],
            cwd=project,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
        )
    assert result.returncode == 0, result.stdout
    assert '"error"' not in result.stdout
    if "websockets" in script:
        assert result.stdout.endswith("Message received: hello\n")


@pytest.mark.slow
@pytest.mark.parametrize("combination", ["everything", "verify"])
def test_the_defaults_are_those_of_the_code(install: Bake, combination: str) -> None:
    project = install(**SERVED[combination])
    command = [str(project / ".venv/bin/python"), "-c", PRINT_DEFAULTS]
    printed = subprocess.run(command, cwd=project, capture_output=True, encoding="utf-8")
    code = dict(line.split(" ", 1) for line in printed.stdout.splitlines())
    rows = dict(DEFAULT.findall(readme_of(project)))
    # The first falls back to another setting; to the second, a driver is added.
    odd = {"WEBSOCKET_ORIGINS", "DATABASE_URL"}
    assert len(rows) > 10
    assert {row: rows[row] for row in rows.keys() - odd} == {
        row: code[row] for row in rows.keys() - odd
    }
