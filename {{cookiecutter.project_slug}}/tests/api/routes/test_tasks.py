"""The routes that are the same for every kind of background tasks."""

import logging
from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient


def test_a_task_is_done_after_the_response(
    client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    response = client.post("/tasks", json={"message": "hello"})
    assert response.status_code == 202
    task_id = response.json()["id"]
    assert response.json() == {"id": task_id}
    assert response.headers["Location"] == f"/tasks/{task_id}"
    assert wait(client, response.headers["Location"]) == {
        "id": task_id,
        "status": "done",
        "result": 5,
    }
    assert "hello" in caplog.text


def test_the_location_is_below_the_prefix(make_client: Callable[..., TestClient]) -> None:
    client = make_client(api_prefix="/api/v1")
    response = client.post("/api/v1/tasks", json={"message": "hello"})
    assert response.headers["Location"].startswith("/api/v1/tasks/")
    assert wait(client, response.headers["Location"])["status"] == "done"


def test_an_unknown_task_is_not_found(client: TestClient) -> None:
    response = client.get("/tasks/unknown")
    assert response.status_code == 404
    assert response.json()["error"] == {"code": 404, "message": "Unknown task", "type": "not_found"}


@pytest.mark.parametrize("body", [{}, {"message": ""}, {"message": 1}, {"message": "x" * 1001}])
def test_a_wrong_message_is_rejected(client: TestClient, body: dict[str, object]) -> None:
    assert client.post("/tasks", json=body).status_code == 422


def wait(client: TestClient, path: str) -> Any:
    """Ask until the task has come to its end."""
    for _ in range(1000):
        task = client.get(path).json()
        if task["status"] in ("done", "failed"):
            break
    return task
