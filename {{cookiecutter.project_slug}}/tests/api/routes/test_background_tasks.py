from fastapi import FastAPI
from fastapi.testclient import TestClient

from app.api.routes.background_tasks import router
from app.tasks.runner import TaskRunner, TaskSettings


def test_the_answer_names_the_place_behind_a_proxy() -> None:
    app = FastAPI()
    app.state.tasks = TaskRunner(TaskSettings())
    app.include_router(router)
    with TestClient(app, root_path="/behind") as client:
        response = client.post("/tasks", json={"message": "hello"})
        assert response.headers["Location"] == f"/behind/tasks/{response.json()['id']}"
        assert client.get(f"/tasks/{response.json()['id']}").status_code == 200
        assert client.get("/tasks/unknown").status_code == 404
