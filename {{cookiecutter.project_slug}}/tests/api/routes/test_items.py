from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import event

from app.db.models import Item

pytestmark = pytest.mark.usefixtures("database")


def create(client: TestClient, name: str = "one", **more: str) -> Any:
    response = client.post("/items", json={"name": name, **more})
    assert response.status_code == 201
    return response.json()


def names(page: Any) -> list[str]:
    return [item["name"] for item in page["items"]]


def test_create(client: TestClient) -> None:
    response = client.post("/items", json={"name": " one ", "description": "the first"})
    assert response.status_code == 201
    item = response.json()
    assert item.pop("created_at").endswith("Z")
    assert item == {"id": 1, "name": "one", "description": "the first"}
    assert response.headers["Location"] == "/items/1"
    assert client.get("/items/1").json() == response.json()


def test_location_has_the_prefix(make_client: Callable[..., TestClient]) -> None:
    client = make_client(api_prefix="/api")
    response = client.post("/api/items", json={"name": "one"})
    assert response.headers["Location"] == "/api/items/1"


def test_list_returns_pages(client: TestClient) -> None:
    assert client.get("/items").json() == {"items": [], "next": None}
    for name in "abc":
        create(client, name)
    assert names(client.get("/items").json()) == ["a", "b", "c"]
    first = client.get("/items?limit=2").json()
    assert (names(first), first["next"]) == (["a", "b"], 2)
    client.delete("/items/1")
    second = client.get(f"/items?limit=2&after={first['next']}").json()
    assert (names(second), second["next"]) == (["c"], None)
    assert client.get("/items?limit=2").json()["next"] is None


def test_replace(client: TestClient) -> None:
    item = create(client, description="the first")
    response = client.put("/items/1", json={"name": "two"})
    assert response.status_code == 200
    assert response.json() == item | {"name": "two", "description": ""}
    assert client.get("/items/1").json() == response.json()


def test_delete(client: TestClient) -> None:
    create(client)
    response = client.delete("/items/1")
    assert (response.status_code, response.content) == (204, b"")
    assert client.get("/items/1").status_code == 404


def test_unknown_items_are_a_404(client: TestClient) -> None:
    for method in ("GET", "PUT", "DELETE"):
        for item_id in (1, 2**63 - 1):
            response = client.request(method, f"/items/{item_id}", json={"name": "one"})
            assert response.status_code == 404
            assert response.json()["error"]["message"] == "Item not found"


def test_name_is_unique(client: TestClient) -> None:
    create(client, "one")
    create(client, "two")
    for response in (
        client.post("/items", json={"name": "one"}),
        client.put("/items/2", json={"name": "one"}),
    ):
        assert response.status_code == 409
        assert response.json()["error"]["type"] == "conflict"
    assert names(client.get("/items").json()) == ["one", "two"]
    assert client.put("/items/1", json={"name": "one"}).status_code == 200


INVALID_BODIES = [
    "{}",
    "[]",
    "",
    '{"name": null}',
    '{"name": 1}',
    '{"name": ""}',
    '{"name": " \\t\\u2003"}',
    '{"name": "a\\u0000b"}',
    '{"name": "\\ud800"}',
    '{"name": "one", "description": "\\u0000"}',
    '{"name": "%s"}' % ("a" * 101),
    '{"name": "one", "description": "%s"}' % ("a" * 1001),
]


def test_invalid_bodies(client: TestClient) -> None:
    create(client)
    headers = {"Content-Type": "application/json"}
    for body in INVALID_BODIES:
        for method, path in (("POST", "/items"), ("PUT", "/items/1")):
            response = client.request(method, path, content=body, headers=headers)
            assert response.status_code == 422, body
            assert response.json()["error"]["details"]


def test_unusual_names_are_stored_unchanged(client: TestClient) -> None:
    unusual = ["a" * 100, "é" * 100, "🐘" * 100, "' OR 1=1 --", "%s ?", "\x01"]
    for name in unusual:
        create(client, name)
    assert names(client.get("/items").json()) == unusual


INVALID_NUMBERS = [
    "/items/0",
    "/items/-1",
    "/items/one",
    "/items/%00",
    f"/items/{2**63}",
    f"/items/{10**30}",
    "/items?limit=0",
    "/items?limit=101",
    "/items?after=-1",
    f"/items?after={2**63}",
]


def test_numbers_out_of_range_are_rejected(client: TestClient) -> None:
    for path in INVALID_NUMBERS:
        assert client.get(path).status_code == 422, path


def test_openapi_declares_the_responses(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    for path, method, status in (
        ("/items", "get", "200"),
        ("/items", "post", "201"),
        ("/items/{item_id}", "get", "200"),
        ("/items/{item_id}", "put", "200"),
        ("/items/{item_id}", "delete", "204"),
    ):
        assert set(paths[path][method]["responses"]) == {status, "default"}


@pytest.fixture
def lost_descriptions() -> Iterator[None]:
    """Let every new item lose its description, which the database requires."""

    def lose(mapper: object, connection: object, item: Any) -> None:
        item.description = None

    event.listen(Item, "before_insert", lose, propagate=True)
    yield
    event.remove(Item, "before_insert", lose)


@pytest.mark.usefixtures("lost_descriptions")
def test_other_integrity_errors_are_a_500(lenient_client: TestClient) -> None:
    assert lenient_client.post("/items", json={"name": "one"}).status_code == 500
