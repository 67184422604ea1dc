"""Guessed passwords, invalid hashes and weak secrets at a running service, and its command line."""

import json
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest

from tests.conftest import Bake
from tests.support import postgresql
from tests.support.service import Service, copied, environment, serving

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("users")]

PASSWORD = "correct horse battery staple"
LIMITS = {"LOGIN_LIMIT": "1000/minute", "LOGIN_LIMIT_ADDRESS": "1000/minute"}
WEAK = {"change-me-" * 4, "a" * 64, "hunter2!" * 5, "0" * 31 + "1", "x" * 32}


@pytest.fixture(scope="module")
def project(install: Bake) -> Path:
    """Return a project that issues tokens, with SQLite."""
    return install(jwt="issue", database="sqlite")


@pytest.fixture
def copy(project: Path, tmp_path: Path) -> Path:
    """Return a copy of the project for one test."""
    return copied(project, tmp_path / "copy")


def post(service: Service, path: str, body: str, kind: str, source: str) -> tuple[int, Any]:
    """Send a request from an address of this machine."""
    connection = HTTPConnection(
        urlsplit(service.address).netloc, timeout=30, source_address=(source, 0)
    )
    with closing(connection):
        connection.request("POST", path, body, {"Content-Type": kind})
        response = connection.getresponse()
        return response.status, json.loads(response.read())


def register(service: Service, name: str, password: str = PASSWORD) -> int:
    body = json.dumps({"username": name, "password": password})
    return post(service, "/users", body, "application/json", "127.0.0.1")[0]


def log_in(service: Service, name: str, password: str, source: str = "127.0.0.1") -> int:
    body = urlencode({"username": name, "password": password})
    return post(service, "/token", body, "application/x-www-form-urlencoded", source)[0]


def manage(project: Path, *command: str, stdin: str = "", **variables: str) -> Any:
    """Run `python -m app.users` in a project."""
    return subprocess.run(
        [project / ".venv/bin/python", "-m", "app.users", *command],
        cwd=project,
        env=environment(**variables),
        input=stdin,
        capture_output=True,
        encoding="utf-8",
        timeout=60,
    )


def test_wrong_passwords_for_a_known_name_do_not_lock_its_user_out(copy: Path) -> None:
    with serving(copy) as service:
        assert register(service, "ada") == 201
        attempts = [log_in(service, "ada", "wrong", "127.0.0.2") for _ in range(12)]
        assert attempts == [401] * 10 + [429] * 2
        # Many addresses have two attempts each, rather than ten.
        attackers = [f"127.0.1.{number}" for number in range(10)]
        attempts = [log_in(service, "ada", "wrong", source) for source in attackers * 3]
        assert attempts == [401] * 20 + [429] * 10
        assert log_in(service, "ada", "wrong", "127.0.0.3") == 401
        assert log_in(service, "ada", PASSWORD, "127.0.0.3") == 200
        assert log_in(service, "bob", PASSWORD, "127.0.0.2") == 401


@pytest.mark.parametrize(
    "password",
    ["password", "\0" * 8, "\0" * 15, "passwordpassword", "1234567890123456", "mallory-mallory-"],
)
def test_common_passwords_are_rejected(password: str, copy: Path) -> None:
    with serving(copy, **LIMITS) as service:
        assert register(service, "mallory", password) == 422
        assert register(service, "mallory", "purple monkey dishwasher") == 201


def test_an_invalid_stored_hash_is_rejected_as_slowly_as_a_wrong_password(copy: Path) -> None:
    def measure(name: str) -> float:
        start = time.perf_counter()
        assert log_in(service, name, "hunter2") == 401
        return time.perf_counter() - start

    with serving(copy, **LIMITS) as service:
        for name in ("ada", "bob"):
            assert register(service, name) == 201
        with closing(sqlite3.connect(copy / "app.db")) as connection, connection:
            connection.execute("UPDATE users SET password_hash = 'hunter2' WHERE username = 'bob'")
        rounds = [[measure(name) for name in ("ada", "bob", "eve")] for _ in range(5)]
        wrong, invalid, unknown = map(min, zip(*rounds, strict=True))
        # Without a hash to compute it takes a twentieth.
        assert min(invalid, unknown) > wrong / 3


@pytest.mark.parametrize("secret", sorted(WEAK))
def test_weak_secrets_do_not_start(secret: str, project: Path) -> None:
    start: list[str | Path] = [project / ".venv/bin/python", "-c", "import app.main"]
    for variable in ("JWT_SECRET_KEY", "JWT_PREVIOUS_SECRET_KEYS"):
        result = subprocess.run(
            start,
            cwd=project,
            env=environment(**{variable: secret}),
            capture_output=True,
            encoding="utf-8",
            timeout=60,
        )
        assert result.returncode == 3
        assert f"  {variable}: can be guessed" in result.stderr
        assert secret not in result.stdout + result.stderr


def test_the_check_names_cheap_hashes(project: Path) -> None:
    result = subprocess.run(
        [project / ".venv/bin/python", "-m", "app.check"],
        cwd=project,
        env=environment(ARGON2_TIME_COST="1", ARGON2_MEMORY_COST="19456"),
        capture_output=True,
        encoding="utf-8",
        timeout=60,
    )
    assert result.returncode == 1
    assert "ARGON2_TIME_COST, ARGON2_MEMORY_COST: make guessing passwords cheap" in result.stdout


@pytest.fixture(params=["sqlite", "postgresql"])
def managed(request: pytest.FixtureRequest, install: Bake) -> Iterator[tuple[Path, dict[str, str]]]:
    """Return a project for each database, and the variables of its database."""
    project = install(jwt="issue", database=request.param)
    if request.param == "sqlite":
        yield project, {}
        return
    with postgresql.database(project) as database:
        yield project, {"DATABASE_URL": database.url}


def test_the_command_line_manages_the_users_of_a_running_service(
    managed: tuple[Path, dict[str, str]],
) -> None:
    project, variables = managed
    # Before the service has ever run.
    result = manage(project, "create", "root", "--scopes", "admin", stdin=PASSWORD, **variables)
    assert (result.returncode, result.stderr) == (0, "")
    with serving(project, **LIMITS, **variables) as service:
        assert log_in(service, "root", PASSWORD) == 200
        assert manage(project, "deactivate", "root", **variables).returncode == 0
        assert log_in(service, "root", PASSWORD) == 401
        assert manage(project, "activate", "root", **variables).returncode == 0
        new = "purple monkey dishwasher"
        assert manage(project, "set-password", "root", stdin=new, **variables).returncode == 0
        assert [log_in(service, "root", word) for word in (PASSWORD, new)] == [401, 200]
        result = manage(project, "list", **variables)
        assert [line.split("\t")[:2] for line in result.stdout.splitlines()[1:]] == [
            ["root", "active"]
        ]
    assert new not in result.stdout + result.stderr


def test_the_command_line_says_if_there_is_no_database(install: Bake) -> None:
    project = install(jwt="issue", database="postgresql")
    url = "postgresql://app:hunter2@127.0.0.1:1/app"
    result = manage(project, "list", DATABASE_URL=url)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith("error: cannot use the database: ")
    assert "check DATABASE_URL" in result.stderr
    assert "hunter2" not in result.stderr
    assert "Traceback" not in result.stderr


def test_a_service_started_elsewhere_reads_the_env_file_of_the_project(
    project: Path, tmp_path: Path
) -> None:
    # Without it, the start would fail: the secret is there alone.
    start: list[str | Path] = [
        project / ".venv/bin/python",
        "-c",
        "import app.main; print('started')",
    ]
    result = subprocess.run(
        start,
        cwd=tmp_path,
        env=environment(PYTHONPATH=str(project)),
        capture_output=True,
        encoding="utf-8",
        timeout=60,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.endswith("started\n")
