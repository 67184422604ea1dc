"""The routes of this service, one file a resource."""

from fastapi import APIRouter

from app.api.routes import (
    # {% if cookiecutter.background_tasks == "fastapi" %}    background_tasks,
    # {% endif %}
    health,
    root,
    # {% if cookiecutter.background_tasks == "taskiq" %}
    tasks,
    # {% endif %}
    # {% if cookiecutter.use_websocket %}
    ws,
    # {% endif %}
)
from app.core.settings import CoreSettings


def create_router(settings: CoreSettings) -> APIRouter:
    """Return all routes. Those of your own go behind `API_PREFIX`."""
    api = APIRouter(prefix=settings.api_prefix)
    # {% if cookiecutter.background_tasks == "taskiq" %}
    api.include_router(tasks.router)
    # {% elif cookiecutter.background_tasks == "fastapi" %}    api.include_router(background_tasks.router)
    # {% endif %}
    # {% if cookiecutter.use_websocket %}
    api.include_router(ws.router)
    # {% endif %}

    router = APIRouter()
    router.include_router(root.router)
    router.include_router(health.router)
    router.include_router(api)
    return router
