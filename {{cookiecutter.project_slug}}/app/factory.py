# {% macro literal(text) %}# {% set quote = "'" if text.count('"') > text.count("'") else '"' %}{{ quote ~ text.replace("\\", "\\\\").replace(quote, "\\" ~ quote) ~ quote }}# {% endmacro %}
"""The application factory."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

# {% if cookiecutter.use_websocket %}
from app import api, realtime

# {%- else +%}from app import api
# {%- endif +%}
# {%- if cookiecutter.jwt == "issue" +%}
from app.auth import login

# {%- endif +%}
from app.config import Settings, get_settings

# {%- if cookiecutter.__redis +%}
from app.core import errors, readiness, redis, telemetry

# {%- else %}{{ "\n" }}from app.core import errors, readiness, telemetry
# {%- endif +%}
# {%- if cookiecutter.database != "none" +%}
from app.db import sessions

# {%- endif +%}
# {%- if cookiecutter.use_rate_limit +%}
from app.limits.redis_limiter import create_limiter

# {%- elif cookiecutter.jwt == "issue" %}{{ "\n" }}from app.limits.memory_limiter import MemoryLimiter
# {%- endif +%}
# {%- if cookiecutter.use_api_key +%}
from app.middleware import api_key

# {%- endif +%}
from app.stack import stack

# {%- if cookiecutter.background_tasks == "taskiq" +%}
from app.tasks import broker

# {%- elif cookiecutter.background_tasks == "fastapi" %}{{ "\n" }}from app.tasks import runner
# {%- endif +%}

logger = logging.getLogger(__name__)


@asynccontextmanager
async def log_middleware(app: FastAPI) -> AsyncIterator[None]:
    """Log the middleware stack when the service starts."""
    names = [getattr(layer.cls, "__name__", "") for layer in app.user_middleware]
    logger.info("middleware: %s", " > ".join(names))
    yield


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Enter these lifespans in order when the service starts, and exit them in reverse order."""
    async with (
        # {% if cookiecutter.__redis %}
        redis.lifespan(app),
        # {% endif %}
        # {% if cookiecutter.database != "none" %}
        sessions.lifespan(app),
        # {% endif %}
        # {% if cookiecutter.background_tasks == "taskiq" %}
        broker.lifespan(app),
        # {% elif cookiecutter.background_tasks == "fastapi" %}        runner.lifespan(app),
        # {% endif %}
        # {% if cookiecutter.use_websocket %}
        realtime.lifespan(app),
        # {% endif %}
        log_middleware(app),
    ):
        yield


def create_app(settings: Settings | None = None) -> FastAPI:
    """Build the application.

    `settings`: by default they are read from the environment and `.env`. Servers import
    `app.main`, which uses the default; tests pass settings of their own.
    """
    settings = settings or get_settings()
    # {% if cookiecutter.__redis %}
    client = redis.connect(settings)
    # {% endif %}
    # {% if cookiecutter.use_rate_limit %}
    limiter = create_limiter(client)
    # {% elif cookiecutter.jwt == "issue" %}    limiter = MemoryLimiter()
    # {% endif %}
    app = FastAPI(
        # {% if false %}
        title="My Service",
        description="A FastAPI service",
        # {% else %}        title={{ literal(cookiecutter.project_name) }},{{ "\n" }}        description={{ literal(cookiecutter.description) }},
        # {% endif %}
        version="0.1.0",
        docs_url="/docs" if settings.docs_enabled else None,
        redoc_url="/redoc" if settings.docs_enabled else None,
        openapi_url="/openapi.json" if settings.docs_enabled else None,
        # {% if cookiecutter.use_rate_limit %}
        middleware=stack(settings, limiter),
        # {% else %}        middleware=stack(settings),
        # {% endif %}
        responses=errors.RESPONSES,
        lifespan=lifespan,
        telemetry=telemetry.configure(settings),
    )
    app.state.settings = settings
    app.state.checks = {}
    app.state.readiness = readiness.Readiness()
    # {% if cookiecutter.__redis %}
    redis.set_up(app, client)
    # {% endif %}
    # {% if cookiecutter.background_tasks == "taskiq" %}
    app.state.broker = broker.create_broker(settings, client)
    # {% elif cookiecutter.background_tasks == "fastapi" %}    app.state.tasks = runner.TaskRunner(settings)
    # {% endif %}
    # {% if cookiecutter.use_websocket %}
    realtime.set_up(app, client, queue_size=settings.websocket_queue_size)
    # {% endif %}
    errors.set_up(app)
    api.include_routers(app, settings.api_prefix)
    # {% if cookiecutter.jwt == "issue" %}
    login.set_up(app, settings, limiter)
    # {% endif %}
    # {% if cookiecutter.use_api_key %}
    api_key.document(app, settings)
    # {% endif %}
    return app
