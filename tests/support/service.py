"""A generated service in an environment of its own, run and asked as its user would."""

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

# What this test run sets for itself, and a person's shell does not.
OURS = ("VIRTUAL_ENV", "PYTHONPATH", "PYTEST_", "COV_", "COVERAGE_", "UV_PROJECT", "UV_RUN")
ADDRESS = re.compile(r"Uvicorn running on (http://[\d.]+:\d+)")
DEADLINE = 30
# What the own tests of the largest project need at most, on a busy machine.
OWN_TESTS = 400

open_url = build_opener(ProxyHandler({})).open


def environment(**variables: str) -> dict[str, str]:
    """Return the variables of a shell in which nobody runs tests, with some more."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    return inherited | {"UV_PYTHON": sys.executable} | variables


def run(project: Path, *command: str, limit: float | None = None) -> str:
    """Run a program in a project, and return what it printed; a failure shows it.

    `limit`: for how long, in seconds; then TimeoutExpired is raised.
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
    """Run the tests of a project, which must cover it; once more where they hang.

    CPython 3.11 can loop for ever when a thread ends that used greenlets, and coverage looks on:
    it waits for a call that is pending, within one. Later versions do not.
    """
    command = [".venv/bin/pytest", "-q", "-p", "no:cacheprovider", "--cov", "--cov-fail-under=100"]
    try:
        run(project, *command, limit=OWN_TESTS)
    except subprocess.TimeoutExpired:
        run(project, *command, limit=OWN_TESTS)


def uv(project: Path, *arguments: str) -> None:
    """Run a command of uv in a project."""
    run(project, find_uv_bin(), *arguments)


@dataclass(frozen=True)
class Response:
    """What a service answered."""

    status: int
    headers: Message
    body: bytes

    def json(self) -> Any:
        """Return the body, decoded."""
        return json.loads(self.body)


@dataclass(frozen=True)
class Service:
    """A service that runs."""

    address: str

    def get(self, path: str, **headers: str) -> Response:
        """Ask for a path; the underscores in the names of headers stand for hyphens."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self._send(Request(self.address + path, headers=named))

    def post(self, path: str, body: object) -> Response:
        """Send JSON to a path."""
        data = json.dumps(body).encode()
        return self._send(Request(self.address + path, data, {"Content-Type": "application/json"}))

    def _send(self, request: Request) -> Response:
        try:
            with open_url(request, timeout=DEADLINE) as answer:
                return Response(answer.status, answer.headers, answer.read())
        except HTTPError as error:
            with error:
                return Response(error.code, error.headers, error.read())


def copied(project: Path, target: Path) -> Path:
    """Return a copy of an installed project, with the same environment."""
    shutil.copytree(project, target, ignore=shutil.ignore_patterns(".venv", "uvicorn.log"))
    (target / ".venv").symlink_to(project / ".venv")
    return target


@contextmanager
def serving(
    project: Path, *, app: str = "app.main:app", error: str = "", **variables: str
) -> Iterator[Service]:
    """Serve an installed project with uvicorn on a free port, and stop it by SIGTERM.

    `variables`: set on top of the .env of the project.
    `error`: what a traceback in the log says. Without it, a traceback fails the test.
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
    """Wait until the service says where it is."""
    deadline = time.monotonic() + DEADLINE
    while time.monotonic() < deadline and process.poll() is None:
        if found := ADDRESS.search(output.read_text(encoding="utf-8")):
            return found[1]
        time.sleep(0.02)
    raise AssertionError(f"it does not serve:\n{output.read_text(encoding='utf-8')}")
