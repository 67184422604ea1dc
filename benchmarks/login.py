"""Measure whether the time of a failed login reveals which users exist.

A service is generated, installed and served. Logins of unknown users and logins with wrong
passwords take turns.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlencode, urlsplit

HERE = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(HERE))

from tests.support.service import serving, uv  # noqa: E402

LIMITS = {"LOGIN_LIMIT": "1000000/minute", "LOGIN_LIMIT_ADDRESS": "1000000/minute"}
RANGE = (0.9, 1.1)


def generate(directory: str) -> Path:
    """Return a project that issues tokens, ready to be served."""
    answers = ["jwt=issue", "database=sqlite", "project_slug=service"]
    command = [sys.executable, "-m", "cookiecutter", str(HERE), "--no-input", "-o", directory]
    subprocess.run([*command, *answers], check=True, stdout=subprocess.DEVNULL)
    project = Path(directory) / "service"
    uv(project, "sync")
    return project


def log_in(connection: HTTPConnection, username: str) -> float:
    """Return the time of a failed login in seconds."""
    form = urlencode({"username": username, "password": "wrong password"})
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    start = time.perf_counter()
    connection.request("POST", "/token", form, kind)
    with connection.getresponse() as response:
        response.read()
        assert response.status == 401
    return time.perf_counter() - start


def main() -> None:
    """Print both medians and their ratio. Exit with status 1 if the ratio is out of range."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tries", type=int, default=200, help="logins of each kind (default: 200)")
    tries = parser.parse_args().tries
    with tempfile.TemporaryDirectory() as directory, serving(generate(directory), **LIMITS) as it:
        connection = HTTPConnection(urlsplit(it.address).netloc)
        user = '{"username": "ada", "password": "correct horse battery staple"}'
        connection.request("POST", "/users", user, {"Content-Type": "application/json"})
        with connection.getresponse() as response:
            response.read()
            assert response.status == 201
        rounds = [
            (log_in(connection, "ada"), log_in(connection, f"unknown-{number}"))
            for number in range(tries)
        ]
    wrong, unknown = (statistics.median(times) for times in zip(*rounds, strict=True))
    print(f"wrong password  {wrong * 1000:7.1f} ms")
    print(f"unknown user    {unknown * 1000:7.1f} ms")
    print(f"ratio           {unknown / wrong:7.3f}    ({RANGE[0]} to {RANGE[1]})")
    sys.exit(not RANGE[0] <= unknown / wrong <= RANGE[1])


if __name__ == "__main__":
    main()
