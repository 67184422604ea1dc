from collections.abc import Callable
from typing import Any

import pytest
from anyio import to_thread
from fastapi.testclient import TestClient
from httpx2 import Response

from app.auth.models import User
from app.auth.passwords import Passwords

pytestmark = pytest.mark.usefixtures("database")
Sql = Callable[..., list[Any]]
PASSWORD = "correct horse battery staple"


@pytest.fixture
def make_user_client(make_client: Callable[..., TestClient]) -> Callable[..., TestClient]:
    def make(**changes: Any) -> TestClient:
        client = make_client(**changes)
        del client.headers["Authorization"]
        client.post("/users", json={"username": "ada", "password": PASSWORD})
        return client

    return make


@pytest.fixture
def client(make_user_client: Callable[..., TestClient]) -> TestClient:
    """A client of a service that has one user."""
    return make_user_client()


def log_in(client: TestClient, password: str = PASSWORD, **data: str) -> Response:
    return client.post("/token", data={"username": "ada", "password": password} | data)


def me(client: TestClient, tokens: dict[str, Any]) -> Response:
    return client.get("/users/me", headers={"Authorization": f"Bearer {tokens['access_token']}"})


def test_log_in(client: TestClient) -> None:
    for username in ["ada", "ADA"]:
        response = log_in(client, username=username, grant_type="password", client_id="x")
        assert response.status_code == 200
        assert response.headers["Cache-Control"] == "no-store"
        tokens = response.json()
        assert tokens["token_type"] == "bearer"
        assert tokens["expires_in"] == 900
        assert me(client, tokens).json()["username"] == "ada"


def test_unknown_users_and_wrong_passwords_get_the_same_response(
    client: TestClient, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    verified = []
    verify = Passwords.verify

    async def verify_and_record(self: Passwords, password: str, user: User | None) -> Any:
        verified.append(user)
        return await verify(self, password, user)

    monkeypatch.setattr(Passwords, "verify", verify_and_record)
    responses = [log_in(client, "wrong"), log_in(client, username="bob")]
    sql("UPDATE users SET is_active = false")
    responses.append(log_in(client))
    for response in responses:
        assert response.status_code == 401
        assert response.headers["WWW-Authenticate"] == "Bearer"
        assert response.json() == responses[0].json()
        assert response.headers.keys() == responses[0].headers.keys()
    assert len(verified) == 3
    assert verified[1] is None
    assert sql("SELECT count(*) FROM logins") == [(0,)]


def test_an_invalid_hash_in_the_database_is_a_wrong_password(client: TestClient, sql: Sql) -> None:
    sql("UPDATE users SET password_hash = 'hunter2'")
    responses = [log_in(client, "hunter2"), log_in(client, username="bob")]
    assert [response.status_code for response in responses] == [401, 401]
    assert responses[0].json() == responses[1].json()


@pytest.mark.parametrize(
    "change", ["password_hash = 'x'", "is_active = false"], ids=["password", "active"]
)
def test_a_change_during_a_login_ends_it(
    change: str, client: TestClient, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    verify = Passwords.verify

    async def verify_and_change(self: Passwords, password: str, user: User | None) -> Any:
        result = await verify(self, password, user)
        await to_thread.run_sync(sql, f"UPDATE users SET {change}")
        return result

    monkeypatch.setattr(Passwords, "verify", verify_and_change)
    assert log_in(client).status_code == 401
    assert sql("SELECT count(*) FROM logins") == [(0,)]


def test_invalid_forms_are_rejected(client: TestClient) -> None:
    for name, value in [
        ("username", "a\0"),
        ("username", "a" * 65),
        ("username", "' OR 1=1"),
        ("password", "x" * 129),
        ("grant_type", "client_credentials"),
        ("scope", "x" * 1001),
    ]:
        assert log_in(client, **{"password": "x", name: value}).status_code == 422
    assert client.post("/token", json={"username": "ada", "password": PASSWORD}).status_code == 422


def test_a_token_has_the_requested_scopes_that_the_user_has(client: TestClient, sql: Sql) -> None:
    sql("UPDATE users SET scopes = 'a b'")
    for asked, got in [("", "a b"), ("b", "b"), ("b admin", "b"), ("admin", "")]:
        tokens = log_in(client, scope=asked).json()
        assert tokens["scope"] == got
        assert me(client, tokens).json()["scopes"] == got.split()
        again = client.post("/token/refresh", json=tokens).json()
        assert again["scope"] == got
    sql("UPDATE users SET scopes = 'a'")
    tokens = client.post("/token/refresh", json=log_in(client, scope="a").json()).json()
    sql("UPDATE users SET scopes = ''")
    assert client.post("/token/refresh", json=tokens).json()["scope"] == ""


def test_login_renews_a_hash_with_other_costs(
    make_user_client: Callable[..., TestClient], sql: Sql
) -> None:
    make_user_client()
    client = make_user_client(argon2_time_cost=2)
    assert log_in(client, "wrong").status_code == 401
    assert ",t=1," in sql("SELECT password_hash FROM users")[0][0]
    assert log_in(client).status_code == 200
    assert ",t=2," in sql("SELECT password_hash FROM users")[0][0]
    assert log_in(client).status_code == 200


def test_tokens_are_refreshed(client: TestClient) -> None:
    tokens = log_in(client).json()
    for _ in range(3):
        # Clients still send their old access token, which may have expired.
        headers = {"Authorization": f"Bearer {tokens['access_token']}x"}
        response = client.post("/token/refresh", json=tokens, headers=headers)
        assert response.status_code == 200
        assert response.headers["Cache-Control"] == "no-store"
        assert response.json().keys() == tokens.keys()
        assert response.json()["refresh_token"] != tokens["refresh_token"]
        assert response.json()["access_token"] != tokens["access_token"]
        tokens = response.json()
        assert me(client, tokens).json()["username"] == "ada"


def test_reuse_of_a_refresh_token_ends_the_login_although_the_response_is_an_error(
    make_user_client: Callable[..., TestClient], sql: Sql
) -> None:
    client = make_user_client(jwt_refresh_grace=0)
    stolen = log_in(client).json()
    tokens = client.post("/token/refresh", json=stolen).json()
    response = client.post("/token/refresh", json=stolen)
    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"] == "Bearer"
    assert response.json()["error"]["message"] == "Invalid refresh token"
    assert sql("SELECT count(*) FROM logins") == [(0,)]
    assert client.post("/token/refresh", json=tokens).status_code == 401


def test_revoking_a_refresh_token_ends_its_login_only(client: TestClient) -> None:
    here, there = log_in(client).json(), log_in(client).json()
    for _ in range(2):
        assert client.post("/token/revoke", json=here).status_code == 204
    assert client.post("/token/refresh", json=here).status_code == 401
    assert client.post("/token/refresh", json=there).status_code == 200
    assert client.post("/token/revoke", json={"refresh_token": "never was"}).status_code == 204


def test_malformed_refresh_tokens_are_rejected(client: TestClient) -> None:
    bad: list[object] = [{}, {"refresh_token": 1}, {"refresh_token": "x" * 101}, []]
    for data in bad:
        assert client.post("/token/refresh", json=data).status_code == 422
        assert client.post("/token/revoke", json=data).status_code == 422


def test_attempts_for_one_name_are_limited_whether_right_or_wrong(
    make_user_client: Callable[..., TestClient],
) -> None:
    client = make_user_client(login_limit="2/minute")
    responses = [log_in(client), log_in(client, "wrong"), log_in(client)]
    assert [response.status_code for response in responses] == [200, 401, 429]
    assert 0 < int(responses[-1].headers["Retry-After"]) <= 60
    assert log_in(client, username="ADA").status_code == 429
    assert log_in(client, username="bob").status_code == 401


def test_attempts_from_one_address_are_limited(make_user_client: Callable[..., TestClient]) -> None:
    client = make_user_client(login_limit_address="3/minute")
    statuses = [log_in(client, username=name).status_code for name in "abc"]
    assert statuses == [401, 401, 429]
