from collections.abc import Callable

from fastapi.testclient import TestClient


def test_root_names_the_service(client: TestClient) -> None:
    response = client.get("/")
    assert response.status_code == 200
    assert response.json() == {"name": client.app.title, "docs": "/docs"}  # type: ignore[attr-defined]


def test_root_names_no_docs_where_they_are_off(make_client: Callable[..., TestClient]) -> None:
    client = make_client(docs_enabled=False)
    assert client.get("/").json()["docs"] is None
    assert client.get("/docs").status_code == 404
    assert client.get("/openapi.json").status_code == 404
