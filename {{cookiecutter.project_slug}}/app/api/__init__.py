"""The routes of this service, one file per resource."""

from fastapi import FastAPI

from app.api.routes import (
    # {% if cookiecutter.background_tasks == "fastapi" %}    background_tasks,
    # {% endif %}
    health,
    # {% if cookiecutter.database != "none" and cookiecutter.jwt == "none" %}    items,
    # {% endif %}
    # {% if cookiecutter.jwt != "none" %}
    me,
    # {% endif %}
    # {% if cookiecutter.database != "none" and cookiecutter.jwt != "none" %}
    owned_items,
    # {% endif %}
    root,
    # {% if cookiecutter.background_tasks == "taskiq" %}
    tasks,
    # {% endif %}
    # {% if cookiecutter.jwt == "issue" %}
    token,
    users,
    # {% endif %}
    # {% if cookiecutter.use_websocket %}
    ws,
    # {% endif %}
)

# {%- if cookiecutter.jwt != "none" and (cookiecutter.use_websocket or cookiecutter.background_tasks != "none") +%}
from app.auth.dependencies import requires_user

# {%- endif +%}


def include_routers(app: FastAPI, prefix: str) -> None:
    """Include all routers. `prefix`: that of your own routes, which is `API_PREFIX`."""
    # Directly, because FastAPI matches the routes of nested routers at every level.
    app.include_router(root.router)
    app.include_router(health.router)
    # {% if cookiecutter.database != "none" and cookiecutter.jwt != "none" %}
    app.include_router(owned_items.router, prefix=prefix)
    # {% elif cookiecutter.database != "none" %}    app.include_router(items.router, prefix=prefix)
    # {% endif %}
    # {% if cookiecutter.jwt != "none" %}
    app.include_router(me.router, prefix=prefix)
    # {% endif %}
    # {% if cookiecutter.jwt == "issue" %}
    app.include_router(users.router, prefix=prefix)
    app.include_router(token.router, prefix=prefix)
    # {% endif %}
    # {% if cookiecutter.background_tasks == "taskiq" and cookiecutter.jwt != "none" %}
    app.include_router(tasks.router, prefix=prefix, dependencies=[requires_user])
    # {% elif cookiecutter.background_tasks == "taskiq" %}    app.include_router(tasks.router, prefix=prefix)
    # {% elif cookiecutter.background_tasks == "fastapi" and cookiecutter.jwt != "none" %}    app.include_router(background_tasks.router, prefix=prefix, dependencies=[requires_user])
    # {% elif cookiecutter.background_tasks == "fastapi" %}    app.include_router(background_tasks.router, prefix=prefix)
    # {% endif %}
    # {% if cookiecutter.use_websocket and cookiecutter.jwt != "none" %}
    app.include_router(ws.router, prefix=prefix, dependencies=[requires_user])
    # {% elif cookiecutter.use_websocket %}    app.include_router(ws.router, prefix=prefix)
    # {% endif %}
