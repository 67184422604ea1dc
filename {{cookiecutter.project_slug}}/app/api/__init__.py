"""The routes of this service, one file a resource."""

from fastapi import APIRouter

from app.api.routes import (
    # {% if cookiecutter.jwt == "issue" %}
    accounts,
    # {% endif %}
    # {% if cookiecutter.background_tasks == "fastapi" %}    background_tasks,
    # {% endif %}
    health,
    # {% if cookiecutter.database != "none" %}
    items,
    # {% endif %}
    root,
    # {% if cookiecutter.background_tasks == "taskiq" %}
    tasks,
    # {% endif %}
    # {% if cookiecutter.jwt == "issue" %}
    token,
    # {% endif %}
    # {% if cookiecutter.jwt != "none" %}
    users,
    # {% endif %}
    # {% if cookiecutter.use_websocket %}
    ws,
    # {% endif %}
)

# {%- if cookiecutter.jwt != "none" and (cookiecutter.database != "none" or cookiecutter.use_websocket) +%}
from app.auth.dependencies import requires_user

# {%- endif +%}
from app.core.settings import CoreSettings


def create_router(settings: CoreSettings) -> APIRouter:
    """Return all routes. Those of your own go behind `API_PREFIX`."""
    api = APIRouter(prefix=settings.api_prefix)
    # {% if cookiecutter.database != "none" %}
    api.include_router(
        items.router,
        # {% if cookiecutter.jwt != "none" %}
        dependencies=[requires_user],
        # {% endif %}
    )
    # {% endif %}
    # {% if cookiecutter.jwt != "none" %}
    api.include_router(users.router)
    # {% endif %}
    # {% if cookiecutter.jwt == "issue" %}
    api.include_router(accounts.router)
    api.include_router(token.router)
    # {% endif %}
    # {% if cookiecutter.background_tasks == "taskiq" %}
    api.include_router(tasks.router)
    # {% elif cookiecutter.background_tasks == "fastapi" %}    api.include_router(background_tasks.router)
    # {% endif %}
    # {% if cookiecutter.use_websocket %}
    api.include_router(
        ws.router,
        # {% if cookiecutter.jwt != "none" %}
        dependencies=[requires_user],
        # {% endif %}
    )
    # {% endif %}

    router = APIRouter()
    router.include_router(root.router)
    router.include_router(health.router)
    router.include_router(api)
    return router
