from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response

from tests.auth.support import make_token

pytestmark = pytest.mark.usefixtures("database")

Send = Callable[..., Response]


@pytest.fixture
def send(client: TestClient) -> Send:
    """Return a function that sends a request of a user, with scopes."""

    def send(method: str, path: str, user: str, scope: str = "", **data: str) -> Response:
        token = make_token(sub=user, scope=scope)
        headers = {"Authorization": f"Bearer {token}"}
        return client.request(method, path, json=data or None, headers=headers)

    return send


def names(response: Response) -> list[str]:
    assert response.status_code == 200
    return [item["name"] for item in response.json()["items"]]


def test_users_see_their_own_items(send: Send) -> None:
    for user, name in [("ada", "lamp"), ("bob", "desk"), ("ada", "chair")]:
        assert send("POST", "/items", user, name=name).status_code == 201
    assert names(send("GET", "/items", "ada")) == ["lamp", "chair"]
    assert names(send("GET", "/items", "bob")) == ["desk"]
    assert names(send("GET", "/items", "eve")) == []
    page = send("GET", "/items?limit=1", "ada").json()
    assert names(send("GET", f"/items?after={page['next']}", "ada")) == ["chair"]


def test_an_item_of_another_user_does_not_exist(send: Send) -> None:
    send("POST", "/items", "ada", name="lamp")
    for method in ("GET", "PUT", "DELETE"):
        foreign = send(method, "/items/1", "bob", name="desk")
        missing = send(method, "/items/2", "bob", name="desk")
        assert foreign.status_code == missing.status_code == 404
        assert foreign.json() == missing.json()
    assert send("GET", "/items/1", "ada").json()["name"] == "lamp"
    assert send("PUT", "/items/1", "ada", name="desk lamp").status_code == 200
    assert send("DELETE", "/items/1", "ada").status_code == 204


@pytest.mark.parametrize("scope", ["admin", "items:admin", "other admin"])
def test_an_admin_sees_all_items(scope: str, send: Send) -> None:
    send("POST", "/items", "ada", name="lamp")
    send("POST", "/items", "root", scope, name="desk")
    assert names(send("GET", "/items", "root", scope)) == ["lamp", "desk"]
    assert send("PUT", "/items/1", "root", scope, name="desk lamp").status_code == 200
    # It still belongs to its creator.
    assert names(send("GET", "/items", "ada")) == ["desk lamp"]
    assert names(send("GET", "/items", "root")) == ["desk"]
    assert send("DELETE", "/items/1", "root", scope).status_code == 204
    assert names(send("GET", "/items", "ada")) == []


@pytest.mark.parametrize("scope", ["items", "items:write", "items:administrator", "ADMIN"])
def test_no_other_scope_makes_an_admin(scope: str, send: Send) -> None:
    send("POST", "/items", "ada", name="lamp")
    assert names(send("GET", "/items", "bob", scope)) == []
    assert send("GET", "/items/1", "bob", scope).status_code == 404


def test_an_item_without_an_owner_is_the_admins(send: Send, sql: Callable[..., list[Any]]) -> None:
    sql("INSERT INTO items (name, description, created_at) VALUES ('lamp', '', '2026-01-01 00:00')")
    assert names(send("GET", "/items", "root", "admin")) == ["lamp"]
    for user in ("ada", "None", "null"):
        assert names(send("GET", "/items", user)) == []
        assert send("GET", "/items/1", user).status_code == 404


def test_anonymous_users_have_no_items(client: TestClient, send: Send) -> None:
    send("POST", "/items", "ada", name="lamp")
    del client.headers["Authorization"]
    for method, path in [
        ("GET", "/items"),
        ("POST", "/items"),
        ("GET", "/items/1"),
        ("PUT", "/items/1"),
        ("DELETE", "/items/1"),
    ]:
        response = client.request(method, path, json={"name": "desk"})
        assert response.status_code == 401
        assert response.headers["WWW-Authenticate"] == "Bearer"


def test_openapi_says_that_a_user_is_required(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    for path in ("/items", "/items/{item_id}"):
        for operation in paths[path].values():
            assert all("Bearer" in choice for choice in operation["security"])
