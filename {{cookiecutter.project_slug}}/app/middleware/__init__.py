"""The middleware stack: one list, in the order in which a request meets it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.middleware import Middleware

from app.core import errors
from app.middleware import (
    # {% if cookiecutter.use_api_key %}
    api_key,
    # {% endif %}
    body_limit,
    # {% if cookiecutter.use_cors %}
    cors,
    # {% endif %}
    # {% if cookiecutter.use_example_middleware %}
    example,
    # {% endif %}
    # {% if cookiecutter.use_gzip %}
    gzip,
    # {% endif %}
    # {% if cookiecutter.background_tasks == "taskiq" %}
    on_success,
    # {% endif %}
    # {% if cookiecutter.use_rate_limit %}
    rate_limit,
    # {% endif %}
    # {% if cookiecutter.use_request_logging %}
    request_logging,
    # {% endif %}
    # {% if cookiecutter.use_security_headers %}
    security_headers,
    # {% endif %}
    # {% if cookiecutter.use_trusted_host %}
    trusted_host,
    # {% endif %}
    # {% if cookiecutter.use_websocket %}
    websocket,
    # {% endif %}
)

if TYPE_CHECKING:
    # {% if cookiecutter.use_rate_limit %}
    from redis.asyncio import Redis

    # {% endif %}
    from app.core.config import Settings


def stack(
    settings: Settings,
    # {% if cookiecutter.use_rate_limit %}
    redis: Redis | None = None,
    # {% endif %}
) -> list[Middleware]:
    """Return the layers, outermost first. The order matters: README.md says why."""
    layers: list[Middleware | None] = [
        # {% if cookiecutter.use_request_logging %}
        request_logging.layer(),
        # {% endif %}
        # {% if cookiecutter.use_security_headers %}
        security_headers.layer(settings),
        # {% endif %}
        # {% if cookiecutter.use_cors %}
        cors.layer(
            settings,
            expose_headers=[
                *errors.RESPONSE_HEADERS,
                # {% if cookiecutter.use_rate_limit %}
                *rate_limit.RESPONSE_HEADERS,
                # {% endif %}
                # {% if cookiecutter.use_request_logging %}
                *request_logging.RESPONSE_HEADERS,
                # {% endif %}
            ],
        ),
        # {% endif %}
        errors.layer(settings),
        # {% if cookiecutter.use_trusted_host %}
        trusted_host.layer(settings),
        # {% endif %}
        body_limit.layer(settings),
        # {% if cookiecutter.use_rate_limit %}
        rate_limit.layer(settings, redis),
        # {% endif %}
        # {% if cookiecutter.use_example_middleware %}
        *example.layers(settings),
        # {% endif %}
        # {% if cookiecutter.use_gzip %}
        gzip.layer(settings),
        # {% endif %}
        # {% if cookiecutter.use_websocket %}
        websocket.layer(
            settings,
            # {% if cookiecutter.use_cors %}
            default_origins=settings.backend_cors_origins,
            # {% endif %}
        ),
        # {% endif %}
        # {% if cookiecutter.use_api_key %}
        api_key.layer(settings),
        # {% endif %}
        # {% if cookiecutter.background_tasks == "taskiq" %}
        on_success.layer(),
        # {% endif %}
    ]
    return [layer for layer in layers if layer is not None]
