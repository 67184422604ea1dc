import asyncio

from fastapi import FastAPI
from fastapi.testclient import TestClient

from app.api.routes.background_tasks import router
from app.core import errors
from app.core.settings import CoreSettings
from app.tasks.runner import TaskRunner, TaskSettings, lifespan


def make_app(**settings: int) -> FastAPI:
    app = FastAPI(lifespan=lifespan, exception_handlers=errors.HANDLERS)
    app.state.tasks = TaskRunner(TaskSettings(**settings))
    app.state.settings, app.state.sessions = CoreSettings(), None
    app.include_router(router)
    return app


def test_location_has_the_root_path_of_a_proxy() -> None:
    with TestClient(make_app(), root_path="/behind") as client:
        response = client.post("/tasks", json={"message": "hello"})
        assert response.headers["Location"] == f"/behind/tasks/{response.json()['id']}"
        assert client.get(f"/tasks/{response.json()['id']}").status_code == 200
        assert client.get("/tasks/unknown").status_code == 404


def test_a_full_queue_rejects_tasks() -> None:
    app = make_app(task_queue_size=1)
    with TestClient(app) as client:
        gate = asyncio.Event()
        assert client.portal
        task = client.portal.start_task_soon(gate.wait)
        app.state.tasks.running.add(task)
        response = client.post("/tasks", json={"message": "hello"})
        assert response.status_code == 503
        assert response.headers["Retry-After"] == "1"
        app.state.tasks.running.clear()
        client.portal.call(gate.set)
        assert client.post("/tasks", json={"message": "hello"}).status_code == 202
