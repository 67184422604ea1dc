# {% macro literal(text) %}# {% set quote = "'" if text.count('"') > text.count("'") else '"' %}{{ quote ~ text.replace("\\", "\\\\").replace(quote, "\\" ~ quote) ~ quote }}# {% endmacro %}
"""Builds the application."""

import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from fastapi import FastAPI

# {% if cookiecutter.use_websocket %}
from app import api, realtime

# {%- else +%}from app import api
# {%- endif +%}
# {%- if cookiecutter.jwt == "issue" +%}
from app.auth import accounts

# {%- endif +%}
# {% if cookiecutter.use_rate_limit and cookiecutter.jwt == "issue" %}
from app.core import errors, redis, redis_windows, telemetry

# {%- elif cookiecutter.use_rate_limit or cookiecutter.use_websocket or cookiecutter.background_tasks == "taskiq" +%}from app.core import errors, redis, telemetry
# {%- else +%}from app.core import errors, telemetry
# {%- endif +%}
from app.core.config import Settings, get_settings

# {%- if cookiecutter.database != "none" +%}
from app.db import sessions

# {%- endif +%}
# {% if cookiecutter.use_api_key %}
from app.middleware import api_key, stack

# {%- else +%}from app.middleware import stack
# {%- endif +%}
# {%- if cookiecutter.background_tasks == "taskiq" +%}
from app.tasks import broker

# {%- elif cookiecutter.background_tasks == "fastapi" %}{{ "\n" }}from app.tasks import runner
# {%- endif +%}

logger = logging.getLogger(__name__)


@asynccontextmanager
async def announce(app: FastAPI) -> AsyncIterator[None]:
    """Log the layers that requests go through."""
    layers = [getattr(layer.cls, "__name__", "") for layer in app.user_middleware]
    logger.info("serving behind %s", " > ".join(layers))
    yield


# What the service holds while it runs: opened in this order, closed in the reverse.
RESOURCES = [
    # {% if cookiecutter.use_rate_limit or cookiecutter.use_websocket or cookiecutter.background_tasks == "taskiq" %}
    redis.serve,
    # {% endif %}
    # {% if cookiecutter.database != "none" %}
    sessions.serve,
    # {% endif %}
    # {% if cookiecutter.background_tasks == "taskiq" %}
    broker.serve,
    # {% elif cookiecutter.background_tasks == "fastapi" %}    runner.serve,
    # {% endif %}
    # {% if cookiecutter.use_websocket %}
    realtime.serve,
    # {% endif %}
    announce,
]


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Hold the resources."""
    async with AsyncExitStack() as held:
        for resource in RESOURCES:
            await held.enter_async_context(resource(app))
        yield


def create_app(settings: Settings | None = None) -> FastAPI:
    """Build the application from `settings`, or from the environment and `.env`."""
    settings = settings or get_settings()
    # {% if cookiecutter.use_rate_limit or cookiecutter.use_websocket or cookiecutter.background_tasks == "taskiq" %}
    client = redis.connect(settings)
    # {% endif %}
    app = FastAPI(
        # {% if false %}
        title="My Service",
        # {% else %}        title={{ literal(cookiecutter.project_name) }},
        # {% endif %}
        # {% if false %}
        description="A FastAPI service",
        # {% else %}        description={{ literal(cookiecutter.description) }},
        # {% endif %}
        version="0.1.0",
        docs_url="/docs" if settings.docs_enabled else None,
        redoc_url="/redoc" if settings.docs_enabled else None,
        openapi_url="/openapi.json" if settings.docs_enabled else None,
        # {% if cookiecutter.use_rate_limit %}
        middleware=stack(settings, client),
        # {% else %}        middleware=stack(settings),
        # {% endif %}
        exception_handlers=errors.HANDLERS,
        responses=errors.RESPONSES,
        lifespan=lifespan,
        telemetry=telemetry.configure(settings),
    )
    app.state.settings = settings
    app.state.checks = {}
    # {% if cookiecutter.use_rate_limit or cookiecutter.use_websocket or cookiecutter.background_tasks == "taskiq" %}
    redis.watch(app, client)
    # {% endif %}
    # {% if cookiecutter.background_tasks == "taskiq" %}
    app.state.broker = broker.create_broker(settings)
    # {% elif cookiecutter.background_tasks == "fastapi" %}    app.state.tasks = runner.TaskRunner(settings)
    # {% endif %}
    # {% if cookiecutter.use_websocket %}
    realtime.watch(app, client, queue_size=settings.websocket_queue_size)
    # {% endif %}
    app.router.default = errors.not_found
    api.include_routers(app, settings)
    # {% if cookiecutter.jwt == "issue" and cookiecutter.use_rate_limit %}
    accounts.serve(app, settings, redis_windows.create_windows(client))
    # {% elif cookiecutter.jwt == "issue" %}    accounts.serve(app, settings)
    # {% endif %}
    # {% if cookiecutter.use_api_key %}
    api_key.document(app, settings)
    # {% endif %}
    return app
