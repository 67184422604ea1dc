from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from fastapi.testclient import TestClient
from sqlalchemy.exc import IntegrityError

from app.auth.models import User

pytestmark = pytest.mark.usefixtures("database")
BAD_NAMES = ["", " ", "a b", "a\n", "a\0", "\u0430da", "ａｄａ", "a" * 65, "a'--", "<a>"]
Sql = Callable[..., list[Any]]


@pytest.fixture
def client(make_client: Callable[..., TestClient]) -> TestClient:
    client = make_client()
    del client.headers["Authorization"]
    return client


def test_register(client: TestClient, sql: Sql) -> None:
    response = client.post("/users", json={"username": "Ada", "password": "correct horse"})
    assert response.status_code == 201
    user = response.json()
    assert user == {"id": str(UUID(user["id"])), "username": "ada"}
    [row] = sql("SELECT username, password_hash, scopes FROM users")
    assert row[0] == "ada"
    assert row[1].startswith("$argon2id$")
    assert row[2] == ""


def test_a_user_name_is_unique(client: TestClient, sql: Sql) -> None:
    client.post("/users", json={"username": "ada", "password": "correct horse"})
    for username in ["ada", "ADA", "Ada"]:
        response = client.post("/users", json={"username": username, "password": "correct horse"})
        assert response.status_code == 409
        assert response.json()["error"]["message"] == "A user with this name already exists"
    assert sql("SELECT count(*) FROM users") == [(1,)]


def test_invalid_user_names_are_rejected(client: TestClient) -> None:
    for username in [*BAD_NAMES, None, 1, ["ada"]]:
        data = {"username": username, "password": "correct horse"}
        assert client.post("/users", json=data).status_code == 422


def test_valid_user_names_are_accepted(client: TestClient) -> None:
    for username in ["a", "a" * 64, "ada@example.com", "a+b", "_", "0"]:
        data = {"username": username, "password": "correct horse"}
        assert client.post("/users", json=data).status_code == 201


def test_the_response_does_not_repeat_an_invalid_password(client: TestClient) -> None:
    for password in ["hunter2", "x" * 129, "\ufdfa" * 32, None]:
        response = client.post("/users", json={"username": "ada", "password": password})
        assert response.status_code == 422
        assert str(password) not in response.text


def test_a_password_with_a_lone_surrogate_is_rejected(client: TestClient) -> None:
    content = b'{"username": "ada", "password": "\\ud800 correct horse"}'
    headers = {"Content-Type": "application/json"}
    assert client.post("/users", content=content, headers=headers).status_code == 422


def test_registrations_from_one_address_are_limited(make_client: Callable[..., TestClient]) -> None:
    client = make_client(login_limit_address="1/minute")
    for name, status in [("ada", 201), ("bob", 429)]:
        data = {"username": name, "password": "correct horse"}
        assert client.post("/users", json=data).status_code == status


def test_other_integrity_errors_are_a_500(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, sql: Sql
) -> None:
    def create_invalid_user(*args: object, **values: object) -> User:
        return User(**(values | {"password_hash": None}))

    monkeypatch.setattr("app.api.routes.users.User", create_invalid_user)
    response = client.post("/users", json={"username": "ada", "password": "correct horse"})
    assert response.status_code == 500
    assert IntegrityError.__name__ not in response.text
