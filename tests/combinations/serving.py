"""Serve a project with its database, and get the credentials that requests to it need."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from tests.support.options import Answers
from tests.support.postgresql import database
from tests.support.raw import ask, sign
from tests.support.service import Service, serving

SECRET = "a-secret-that-both-know-of-32-bytes"
# Settings that allow the many requests of Schemathesis, and hash passwords quickly.
SETTINGS = {
    "RATE_LIMIT": "1000000/minute",
    "LOGIN_LIMIT": "1000000/minute",
    "LOGIN_LIMIT_ADDRESS": "1000000/minute",
    "ARGON2_TIME_COST": "1",
    "ARGON2_MEMORY_COST": "19456",
    # Instead of an identity provider.
    "JWT_SECRET_KEY": SECRET,
}


@contextmanager
def served(project: Path, answers: Answers) -> Iterator[Service]:
    """Serve a project with its own `.env`, and with a database that has the schema."""
    if answers["database"] != "postgresql":
        with serving(project, **SETTINGS) as service:
            yield service
        return
    with (
        database(project) as created,
        serving(project, DATABASE_URL=created.url, **SETTINGS) as service,
    ):
        yield service


def credentials(service: Service, project: Path, answers: Answers) -> dict[str, str]:
    """Return the headers of a client with all credentials."""
    lines = (project / ".env").read_text(encoding="utf-8").splitlines()
    env = dict(line.split("=", 1) for line in lines if not line.startswith("#"))
    headers = {"X-API-Key": env["API_KEYS"]} if answers["use_api_key"] else {}
    if answers["jwt"] == "verify":
        headers["Authorization"] = f"Bearer {token(env)}"
    elif answers["jwt"] == "issue":
        user = {"username": "ada", "password": "correct horse battery"}
        post(service, "/users", json.dumps(user), headers | {"Content-Type": "application/json"})
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        tokens = post(service, "/token", urlencode(user), headers | form)
        headers["Authorization"] = f"Bearer {tokens['access_token']}"
    return headers


def token(env: dict[str, str]) -> str:
    """Return a token of the issuer that the service trusts."""
    now = int(time.time())
    claims = {
        "iss": env["JWT_ISSUER"],
        "aud": env["JWT_AUDIENCE"],
        "sub": "ada",
        "jti": "1",
        "iat": now,
        "exp": now + 3600,
    }
    return sign({"alg": "HS256", "typ": "at+jwt"}, claims, SECRET.encode()).decode()


def post(service: Service, path: str, body: str, headers: dict[str, str]) -> Any:
    """Send a POST request, and return the decoded body of the response."""
    named = [(name.encode(), value.encode()) for name, value in headers.items()]
    response = ask(service, path.encode(), *named, method=b"POST", body=body.encode())
    assert response.status < 300, response
    return json.loads(response.body)
