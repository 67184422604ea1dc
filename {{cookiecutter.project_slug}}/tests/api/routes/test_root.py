from collections.abc import Callable

from fastapi import FastAPI
from fastapi.testclient import TestClient


def test_root_names_the_service(app: FastAPI, client: TestClient) -> None:
    response = client.get("/")
    assert response.status_code == 200
    assert response.json() == {"name": app.title, "docs": "/docs"}


def test_docs_is_null_if_the_documentation_is_turned_off(
    make_client: Callable[..., TestClient],
) -> None:
    assert make_client(docs_enabled=False).get("/").json()["docs"] is None


def test_root_has_the_headers_of_get_for_head(client: TestClient) -> None:
    get, head = client.get("/"), client.head("/")
    assert (head.status_code, head.content) == (200, b"")
    for name in ("content-length", "content-type"):
        assert head.headers[name] == get.headers[name]
    assert "head" not in client.get("/openapi.json").json()["paths"]["/"]
