"""Projects that are installed, tested and served as their users would do it."""

import shutil
import tomllib
from pathlib import Path

import pytest

from tests.conftest import Bake
from tests.support.picks import COMBINATIONS, DEFAULTS, Answers
from tests.support.service import Response, Service, run_own_tests, serving, uv
from tests.support.template import cookiecutter, load_hook, typing

# One of them is installed in the everyday run, too.
INSTALLED = [
    pytest.param("default", marks=pytest.mark.xdist_group("default")),
    pytest.param("nothing", marks=[pytest.mark.slow, pytest.mark.xdist_group("nothing")]),
    pytest.param("everything", marks=[pytest.mark.slow, pytest.mark.xdist_group("everything")]),
]
NAME = """{{ 7 * 7 }} Їжак's "API" 🚀 \\"""
DESCRIPTION = """''' \\" <b> {% x %} 👩‍💻"""


@pytest.fixture(scope="module", params=INSTALLED)
def combination(request: pytest.FixtureRequest) -> str:
    """The name of a combination of answers."""
    return str(request.param)


@pytest.fixture(scope="module")
def project(bake: Bake, combination: str) -> Path:
    """A project in a fresh environment that holds what it declares, and nothing else."""
    project = bake(**COMBINATIONS[combination])
    uv(project, "sync")
    return project


@pytest.fixture(scope="module")
def picks(combination: str) -> Answers:
    """Every answer that the project was generated from."""
    return DEFAULTS | COMBINATIONS[combination]


def test_its_own_tests_pass_and_cover_it(project: Path) -> None:
    run_own_tests(project)


def test_its_types_are_right(project: Path) -> None:
    uv(project, "run", "mypy")


def test_its_style_is_right_by_its_own_tools(project: Path) -> None:
    uv(project, "run", "ruff", "check")
    uv(project, "run", "ruff", "format", "--check")


def test_it_is_served(project: Path, picks: Answers) -> None:
    with serving(project) as service:
        check_routes(service)
        check_headers(service, picks)
        check_api_key(service, picks, key_of(project))


def test_it_is_served_in_production(project: Path, picks: Answers) -> None:
    production = {"DEBUG": "false", "ALLOWED_HOSTS": "service.example.com"}
    with serving(project, **production) as service:
        assert service.get("/", Host="service.example.com").status == 200
        assert service.get("/healthz").status == 200
        stranger = service.get("/", Host="elsewhere.example.com")
        if picks["use_trusted_host"]:
            check_error(stranger, 400, "bad_request")
        else:
            assert stranger.status == 200


def test_the_example_of_env_starts_a_development_server(project: Path, tmp_path: Path) -> None:
    other = tmp_path / "project"
    shutil.copytree(project, other, ignore=shutil.ignore_patterns(".venv", ".env"))
    (other / ".venv").symlink_to(project / ".venv")
    (other / ".env.example").rename(other / ".env")
    with serving(other) as service:
        assert service.get("/healthz").status == 200


def test_none_of_its_packages_may_name_a_project(project: Path) -> None:
    # Whoever reads this because it is red: add the name to DEPENDENCIES in pre_gen_project.
    packages = tomllib.loads((project / "uv.lock").read_text(encoding="utf-8"))["package"]
    refused = load_hook("pre_gen_project", DEFAULTS).DEPENDENCIES
    assert {package["name"] for package in packages} - refused == {"my-service"}


@pytest.mark.slow
@pytest.mark.xdist_group("hostile")
def test_hostile_text_is_served_as_it_was_typed(tmp_path: Path) -> None:
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
    """Check what every service answers."""
    assert service.get("/").json() == {"name": "My Service", "docs": "/docs"}
    for path in ("/healthz", "/readyz"):
        assert service.get(path).json() == {"status": "ok"}
    assert service.get("/docs").headers["Content-Type"].startswith("text/html")


def check_headers(service: Service, picks: Answers) -> None:
    """Check that an answer has the headers of what was picked, and of nothing else."""
    answer = service.get("/openapi.json", Origin="http://localhost:3000", Accept_Encoding="gzip")
    expected = {
        "X-Request-ID": picks["use_request_logging"],
        "X-Process-Time": picks["use_request_logging"],
        "X-Content-Type-Options": picks["use_security_headers"],
        "Referrer-Policy": picks["use_security_headers"],
        "Access-Control-Allow-Origin": picks["use_cors"],
        "Content-Encoding": picks["use_gzip"],
    }
    assert {name: name in answer.headers for name in expected} == expected


def check_api_key(service: Service, picks: Answers, key: str) -> None:
    """Check that what is not public asks for a key, if that was picked."""
    if picks["use_api_key"]:
        check_error(service.get("/missing"), 401, "unauthorized")
        check_error(service.get("/missing", X_API_Key="other"), 401, "unauthorized")
    check_error(service.get("/missing", X_API_Key=key), 404, "not_found")


def check_error(answer: Response, status: int, kind: str) -> None:
    """Check that an answer is an error in the one shape that errors have."""
    assert answer.status == status
    assert answer.headers["Content-Type"] == "application/json"
    content = answer.json()
    assert content["success"] is False
    assert (content["error"]["code"], content["error"]["type"]) == (status, kind)
    assert content["error"]["message"]


def key_of(project: Path) -> str:
    """Return the API key in the .env of a project, or nothing."""
    lines = (project / ".env").read_text(encoding="utf-8").splitlines()
    return next((line.partition("=")[2] for line in lines if line.startswith("API_KEYS=")), "")
