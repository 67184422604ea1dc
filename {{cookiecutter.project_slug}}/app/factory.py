# {% macro literal(text) %}# {% set quote = "'" if text.count('"') > text.count("'") else '"' %}{{ quote ~ text.replace("\\", "\\\\").replace(quote, "\\" ~ quote) ~ quote }}# {% endmacro %}
"""Builds the application."""

import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from fastapi import FastAPI

from app.api import create_router

# {%- if cookiecutter.jwt == "issue" +%}
from app.auth import accounts

# {%- endif +%}
from app.core import errors
from app.core.config import Settings, get_settings

# {%- if cookiecutter.database != "none" +%}
from app.db import sessions

# {%- endif +%}
from app.middleware import (
    # {% if cookiecutter.use_api_key %}
    api_key,
    # {% endif %}
    stack,
)

logger = logging.getLogger(__name__)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Hold what the service needs while it runs."""
    resources = [
        # {% if cookiecutter.database != "none" %}
        sessions.serve,
        # {% endif %}
        announce,
    ]
    async with AsyncExitStack() as held:
        for resource in resources:
            await held.enter_async_context(resource(app))
        yield


@asynccontextmanager
async def announce(app: FastAPI) -> AsyncIterator[None]:
    """Log the layers, once all else is there."""
    layers = [getattr(layer.cls, "__name__", "") for layer in app.user_middleware]
    logger.info("serving behind %s", " > ".join(layers))
    yield


def create_app(settings: Settings | None = None) -> FastAPI:
    """Build the application from `settings`, or from the environment and `.env`."""
    settings = settings or get_settings()
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
        middleware=stack(settings),
        exception_handlers=errors.HANDLERS,
        responses=errors.RESPONSES,
        lifespan=lifespan,
    )
    app.state.settings = settings
    app.state.checks = {}
    app.router.default = errors.not_found
    app.include_router(create_router(settings))
    # {% if cookiecutter.jwt == "issue" %}
    accounts.serve(app, settings)
    # {% endif %}
    # {% if cookiecutter.use_api_key %}
    api_key.document(app, settings)
    # {% endif %}
    return app
