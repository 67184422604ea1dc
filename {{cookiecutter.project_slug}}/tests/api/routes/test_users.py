from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from fastapi.testclient import TestClient
from sqlalchemy.exc import IntegrityError

from app.auth.models import User
from tests.auth.support import make_token

pytestmark = pytest.mark.usefixtures("database")
BAD_NAMES = ["", " ", "a b", "a\n", "a\0", "\u0430da", "ａｄａ", "a" * 65, "a'--", "<a>"]
Sql = Callable[..., list[Any]]
PASSWORD = "correct horse battery staple"
OTHER = "purple monkey dishwasher"


@pytest.fixture
def client(make_client: Callable[..., TestClient]) -> TestClient:
    client = make_client()
    del client.headers["Authorization"]
    return client


def test_register(client: TestClient, sql: Sql) -> None:
    response = client.post(
        "/users", json={"username": "Ada", "password": "correct horse battery staple"}
    )
    assert response.status_code == 201
    user = response.json()
    assert user == {"id": str(UUID(user["id"])), "username": "ada"}
    [row] = sql("SELECT username, password_hash, scopes FROM users")
    assert row[0] == "ada"
    assert row[1].startswith("$argon2id$")
    assert row[2] == ""


def test_a_user_name_is_unique(client: TestClient, sql: Sql) -> None:
    client.post("/users", json={"username": "ada", "password": "correct horse battery staple"})
    for username in ["ada", "ADA", "Ada"]:
        response = client.post(
            "/users", json={"username": username, "password": "correct horse battery staple"}
        )
        assert response.status_code == 409
        assert response.json()["error"]["message"] == "A user with this name already exists"
    assert sql("SELECT count(*) FROM users") == [(1,)]


def test_invalid_user_names_are_rejected(client: TestClient) -> None:
    for username in [*BAD_NAMES, None, 1, ["ada"]]:
        data = {"username": username, "password": "correct horse battery staple"}
        assert client.post("/users", json=data).status_code == 422


def test_valid_user_names_are_accepted(client: TestClient) -> None:
    for username in ["a", "a" * 64, "ada@example.com", "a+b", "_", "0"]:
        data = {"username": username, "password": "correct horse battery staple"}
        assert client.post("/users", json=data).status_code == 201


def test_the_response_does_not_repeat_an_invalid_password(client: TestClient) -> None:
    for password in [
        "hunter2",
        "x" * 129,
        "\ufdfa" * 32,
        "passwordpassword",
        "ada-ada-ada-ada-ada",
        None,
    ]:
        response = client.post("/users", json={"username": "ada", "password": password})
        assert response.status_code == 422
        assert str(password) not in response.text


def test_a_password_with_a_lone_surrogate_is_rejected(client: TestClient) -> None:
    content = b'{"username": "ada", "password": "\\ud800 correct horse battery staple"}'
    headers = {"Content-Type": "application/json"}
    assert client.post("/users", content=content, headers=headers).status_code == 422


def test_registrations_from_one_address_are_limited(make_client: Callable[..., TestClient]) -> None:
    client = make_client(login_limit_address="1/minute")
    for name, status in [("ada", 201), ("bob", 429)]:
        data = {"username": name, "password": "correct horse battery staple"}
        assert client.post("/users", json=data).status_code == status


def test_registration_can_be_disabled(make_client: Callable[..., TestClient], sql: Sql) -> None:
    client = make_client(registration_enabled=False)
    data = {"username": "ada", "password": PASSWORD}
    response = client.post("/users", json=data)
    assert response.status_code == 403
    assert response.json()["error"]["message"] == "Registration is disabled"
    assert sql("SELECT count(*) FROM users") == [(0,)]


@pytest.fixture
def make_user_client(make_client: Callable[..., TestClient]) -> Callable[..., TestClient]:
    """Return a function that makes a client of a service with some settings and one user, ada."""

    def make(**changes: Any) -> TestClient:
        client = make_client(**changes)
        client.post("/users", json={"username": "ada", "password": PASSWORD})
        return client

    return make


def log_in(client: TestClient, password: str = PASSWORD) -> Any:
    return client.post("/token", data={"username": "ada", "password": password}).json()


def change_password(
    client: TestClient, token: str, current: str = PASSWORD, new: str = OTHER
) -> Any:
    headers = {"Authorization": f"Bearer {token}"}
    data = {"current_password": current, "new_password": new}
    return client.put("/users/me/password", json=data, headers=headers)


def test_a_changed_password_ends_the_other_logins_only(
    make_user_client: Callable[..., TestClient], sql: Sql
) -> None:
    client = make_user_client()
    data = {"username": "bob", "password": PASSWORD}
    client.post("/users", json=data)
    bob = client.post("/token", data=data).json()
    here, there = log_in(client), log_in(client)
    # Refreshing does not make it another login.
    here = client.post("/token/refresh", json=here).json()
    response = change_password(client, here["access_token"])
    assert (response.status_code, response.content) == (204, b"")
    statuses = [
        client.post("/token/refresh", json=tokens).status_code for tokens in (here, there, bob)
    ]
    assert statuses == [200, 401, 200]
    assert log_in(client)["error"]["code"] == 401
    assert log_in(client, OTHER)["access_token"]
    assert sql("SELECT count(*) FROM logins") == [(3,)]


def test_a_token_without_a_login_ends_all_logins(
    make_user_client: Callable[..., TestClient], sql: Sql
) -> None:
    client = make_user_client()
    [[user_id]] = sql("SELECT CAST(id AS text) FROM users")
    log_in(client)
    token = make_token(sub=str(UUID(user_id)), sid=None)
    assert change_password(client, token).status_code == 204
    assert sql("SELECT count(*) FROM logins") == [(0,)]


def test_the_current_password_is_required(
    make_user_client: Callable[..., TestClient], sql: Sql
) -> None:
    client = make_user_client()
    tokens = log_in(client)
    response = change_password(client, tokens["access_token"], "hunter2")
    assert response.status_code == 403
    assert response.json()["error"]["message"] == "Wrong password"
    assert log_in(client)["access_token"]


@pytest.mark.parametrize("new", ["hunter2", "passwordpassword", "ada-ada-ada-ada-ada", "\0" * 15])
def test_a_new_password_is_checked_like_the_first(
    new: str, make_user_client: Callable[..., TestClient]
) -> None:
    client = make_user_client()
    response = change_password(client, log_in(client)["access_token"], new=new)
    assert response.status_code == 422
    [problem] = response.json()["error"]["details"]
    assert problem["loc"] == ["body", "new_password"]
    assert new not in response.text


def test_changes_of_passwords_count_as_attempts_to_log_in(
    make_user_client: Callable[..., TestClient],
) -> None:
    client = make_user_client(login_limit="3/minute")
    token = log_in(client)["access_token"]
    statuses = [change_password(client, token, "wrong").status_code for _ in range(3)]
    assert statuses == [403, 403, 429]
    assert log_in(client)["error"]["code"] == 429


def test_only_an_active_user_can_change_a_password(
    make_user_client: Callable[..., TestClient], sql: Sql
) -> None:
    client = make_user_client()
    token = log_in(client)["access_token"]
    sql("UPDATE users SET is_active = false")
    tokens = [token, make_token(), make_token(sub=str(UUID(int=1)))]
    responses = [change_password(client, token) for token in tokens]
    assert [response.status_code for response in responses] == [401] * 3
    assert responses[0].headers["WWW-Authenticate"] == "Bearer"
    del client.headers["Authorization"]
    data = {"current_password": PASSWORD, "new_password": OTHER}
    assert client.put("/users/me/password", json=data).status_code == 401


def test_other_integrity_errors_are_a_500(
    lenient_client: TestClient, monkeypatch: pytest.MonkeyPatch, sql: Sql
) -> None:
    def create_invalid_user(*args: object, **values: object) -> User:
        return User(**(values | {"password_hash": None}))

    monkeypatch.setattr("app.auth.users.User", create_invalid_user)
    response = lenient_client.post(
        "/users", json={"username": "ada", "password": "correct horse battery staple"}
    )
    assert response.status_code == 500
    assert IntegrityError.__name__ not in response.text
