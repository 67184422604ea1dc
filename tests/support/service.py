"""Run commands in a generated project, serve it, and send requests to it."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

from uv import find_uv_bin

# The prefixes of variables that a test run sets for itself, and a user's shell does not have.
TEST_VARIABLES = (
    "VIRTUAL_ENV",
    "PYTHONPATH",
    "PYTEST_",
    "COV_",
    "COVERAGE_",
    "UV_PROJECT",
    "UV_RUN",
)
ADDRESS = re.compile(r"Uvicorn running on (http://[\d.]+:\d+)")
DEADLINE = 30
# How long the tests of the largest project may take on a busy machine, in seconds.
OWN_TESTS = 400

open_url = build_opener(ProxyHandler({})).open


def environment(**variables: str) -> dict[str, str]:
    """Return the environment of this process without the variables of the test run.

    `variables`: are added.
    """
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(TEST_VARIABLES)
    }
    return inherited | {"UV_PYTHON": sys.executable} | variables


def run(project: Path, *command: str, limit: float | None = None) -> str:
    """Run a program in a project, and return its output. Fail if its exit status is not 0.

    `limit`: the maximum time in seconds, after which TimeoutExpired is raised.
    """
    result = subprocess.run(
        command,
        cwd=project,
        env=environment(),
        timeout=limit,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
    )
    assert result.returncode == 0, f"{' '.join(command)}\n{result.stdout}"
    return result.stdout


def run_own_tests(project: Path) -> None:
    """Run the tests of a project, which must cover all of it. Run them again if they hang.

    CPython 3.11 can loop forever when a thread that used greenlets ends while coverage measures it.
    Later versions do not.
    """
    # Not 100: on CPython 3.11, coverage now and then misses a line that runs after an exception has
    # left a greenlet, another one each time. A module without a test is below this.
    command = [".venv/bin/pytest", "-q", "-p", "no:cacheprovider", "--cov", "--cov-fail-under=99"]
    try:
        run(project, *command, limit=OWN_TESTS)
    except subprocess.TimeoutExpired:
        run(project, *command, limit=OWN_TESTS)


def uv(project: Path, *arguments: str) -> None:
    """Run a command of uv in a project."""
    run(project, find_uv_bin(), *arguments)


@dataclass(frozen=True)
class Response:
    """The response of a service."""

    status: int
    headers: Message
    body: bytes

    def json(self) -> Any:
        """Return the decoded body."""
        return json.loads(self.body)


@dataclass(frozen=True)
class Service:
    """A running service."""

    address: str

    def get(self, path: str, **headers: str) -> Response:
        """Send a GET request. Underscores in the names of headers are replaced with hyphens."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self._send(Request(self.address + path, headers=named))

    def post(self, path: str, body: object) -> Response:
        """Send JSON to a path."""
        data = json.dumps(body).encode()
        return self._send(Request(self.address + path, data, {"Content-Type": "application/json"}))

    def _send(self, request: Request) -> Response:
        try:
            with open_url(request, timeout=DEADLINE) as response:
                return Response(response.status, response.headers, response.read())
        except HTTPError as error:
            with error:
                return Response(error.code, error.headers, error.read())


def copied(project: Path, target: Path) -> Path:
    """Copy an installed project, and return the copy. Both share their environment."""
    shutil.copytree(project, target, ignore=shutil.ignore_patterns(".venv", "uvicorn.log"))
    (target / ".venv").symlink_to(project / ".venv")
    return target


@contextmanager
def serving(
    project: Path, *, app: str = "app.main:app", error: str = "", **variables: str
) -> Iterator[Service]:
    """Serve an installed project with uvicorn on a free port, and stop it by SIGTERM.

    `variables`: take precedence over the project's `.env`. `error`: a text that a traceback in the
    log must contain; without it, a traceback fails the test.
    """
    output = project / "uvicorn.log"
    with output.open("wb") as log:
        process = subprocess.Popen(
            [project / ".venv/bin/uvicorn", app, "--port", "0"],
            cwd=project,
            env=environment(**variables),
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        yield Service(address(process, output))
        process.terminate()
        # uvicorn shuts down, then lets the signal end it.
        assert process.wait(DEADLINE) in (0, -signal.SIGTERM)
        logged = output.read_text(encoding="utf-8")
        assert ("Traceback" in logged) is bool(error), logged
        assert error in logged, logged
    finally:
        process.kill()
        process.wait()
        output.unlink()


def address(process: subprocess.Popen[bytes], output: Path) -> str:
    """Wait until uvicorn logs the address of the service, and return it."""
    deadline = time.monotonic() + DEADLINE
    while time.monotonic() < deadline and process.poll() is None:
        if found := ADDRESS.search(output.read_text(encoding="utf-8")):
            return found[1]
        time.sleep(0.02)
    raise AssertionError(f"the service did not start:\n{output.read_text(encoding='utf-8')}")
