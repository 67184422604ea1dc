"""Projects that are installed, tested and served as by their users."""

import shutil
import tomllib
from pathlib import Path

import pytest

from tests.conftest import Bake
from tests.support.options import COMBINATIONS, DEFAULTS, Answers
from tests.support.service import Response, Service, run_own_tests, serving, uv
from tests.support.template import cookiecutter, load_hook, typing

# The default project is installed in the everyday run too.
INSTALLED = [
    pytest.param("default", marks=pytest.mark.xdist_group("default")),
    pytest.param("nothing", marks=[pytest.mark.slow, pytest.mark.xdist_group("nothing")]),
    pytest.param("everything", marks=[pytest.mark.slow, pytest.mark.xdist_group("everything")]),
]
NAME = """{{ 7 * 7 }} Їжак's "API" 🚀 \\"""
DESCRIPTION = """''' \\" <b> {% x %} 👩‍💻"""


@pytest.fixture(scope="module", params=INSTALLED)
def combination(request: pytest.FixtureRequest) -> str:
    """Return the name of a combination of answers."""
    return str(request.param)


@pytest.fixture(scope="module")
def project(bake: Bake, combination: str) -> Path:
    """Return a project in an environment with its own dependencies only."""
    project = bake(**COMBINATIONS[combination])
    uv(project, "sync")
    return project


@pytest.fixture(scope="module")
def answers(combination: str) -> Answers:
    """Return all answers from which the project was generated."""
    return DEFAULTS | COMBINATIONS[combination]


def test_its_own_tests_pass_and_cover_it(project: Path) -> None:
    run_own_tests(project)


def test_it_passes_mypy(project: Path) -> None:
    uv(project, "run", "mypy")


def test_it_passes_ruff(project: Path) -> None:
    uv(project, "run", "ruff", "check")
    uv(project, "run", "ruff", "format", "--check")


def test_it_is_served(project: Path, answers: Answers) -> None:
    with serving(project) as service:
        check_routes(service)
        check_headers(service, answers)
        check_api_key(service, answers, key_of(project))


def test_it_is_served_in_production(project: Path, answers: Answers) -> None:
    production = {"DEBUG": "false", "ALLOWED_HOSTS": "service.example.com"}
    with serving(project, **production) as service:
        assert service.get("/", Host="service.example.com").status == 200
        assert service.get("/healthz").status == 200
        response = service.get("/", Host="elsewhere.example.com")
        if answers["use_trusted_host"]:
            check_error(response, 400, "bad_request")
        else:
            assert response.status == 200


def test_the_example_file_starts_a_development_server(project: Path, tmp_path: Path) -> None:
    other = tmp_path / "project"
    shutil.copytree(project, other, ignore=shutil.ignore_patterns(".venv", ".env"))
    (other / ".venv").symlink_to(project / ".venv")
    (other / ".env.example").rename(other / ".env")
    with serving(other) as service:
        assert service.get("/healthz").status == 200


def test_no_project_can_have_the_name_of_one_of_its_packages(project: Path) -> None:
    # If this fails, add the missing names to DEPENDENCIES in hooks/pre_gen_project.py.
    packages = tomllib.loads((project / "uv.lock").read_text(encoding="utf-8"))["package"]
    refused = load_hook("pre_gen_project", DEFAULTS).DEPENDENCIES
    assert {package["name"] for package in packages} - refused == {"my-service"}


@pytest.mark.slow
@pytest.mark.xdist_group("hostile")
def test_hostile_text_is_served_unchanged(tmp_path: Path) -> None:
    answers: Answers = {
        "project_name": NAME,
        "project_slug": "hedgehog",
        "description": DESCRIPTION,
    }
    result = cookiecutter(output=tmp_path / "out", typed=typing(answers))
    assert result.returncode == 0, result.stderr
    project = tmp_path / "out" / "hedgehog"
    uv(project, "sync")
    with serving(project) as service:
        info = service.get("/openapi.json").json()["info"]
        assert (info["title"], info["description"]) == (NAME, DESCRIPTION)
        assert service.get("/").json()["name"] == NAME
        assert service.get("/docs").status == 200


def check_routes(service: Service) -> None:
    """Check the routes of every service."""
    assert service.get("/").json() == {"name": "My Service", "docs": "/docs"}
    for path in ("/healthz", "/readyz"):
        assert service.get(path).json() == {"status": "ok"}
    assert service.get("/docs").headers["Content-Type"].startswith("text/html")


def check_headers(service: Service, answers: Answers) -> None:
    """Check that a response has only the headers of options that were chosen."""
    response = service.get("/openapi.json", Origin="http://localhost:3000", Accept_Encoding="gzip")
    expected = {
        "X-Request-ID": answers["use_request_logging"],
        "X-Process-Time": answers["use_request_logging"],
        "X-Content-Type-Options": answers["use_security_headers"],
        "Referrer-Policy": answers["use_security_headers"],
        "Access-Control-Allow-Origin": answers["use_cors"],
        "Content-Encoding": answers["use_gzip"],
    }
    assert {name: name in response.headers for name in expected} == expected


def check_api_key(service: Service, answers: Answers, key: str) -> None:
    """Check that a path that is not public requires a key if that option was chosen."""
    if answers["use_api_key"]:
        check_error(service.get("/missing"), 401, "unauthorized")
        check_error(service.get("/missing", X_API_Key="other"), 401, "unauthorized")
    check_error(service.get("/missing", X_API_Key=key), 404, "not_found")


def check_error(response: Response, status: int, kind: str) -> None:
    """Check that a response is an error in the documented format."""
    assert response.status == status
    assert response.headers["Content-Type"] == "application/json"
    content = response.json()
    assert content["success"] is False
    assert (content["error"]["code"], content["error"]["type"]) == (status, kind)
    assert content["error"]["message"]


def key_of(project: Path) -> str:
    """Return the API key in the `.env` of a project, or an empty text."""
    lines = (project / ".env").read_text(encoding="utf-8").splitlines()
    return next((line.partition("=")[2] for line in lines if line.startswith("API_KEYS=")), "")
