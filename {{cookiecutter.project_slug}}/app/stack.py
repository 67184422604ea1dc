"""The middleware stack: one list, outermost first."""

from starlette.middleware import Middleware

from app.config import Settings
from app.core import errors

# {%- if cookiecutter.use_rate_limit +%}
from app.limits.limit import Limiter

# {%- endif +%}
from app.middleware import (
    # {% if cookiecutter.background_tasks == "taskiq" %}
    after_commit,
    # {% endif %}
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
    # {% if cookiecutter.jwt != "none" %}
    jwt,
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
    # {% if cookiecutter.database != "none" %}
    transaction,
    # {% endif %}
    # {% if cookiecutter.use_trusted_host %}
    trusted_host,
    # {% endif %}
    # {% if cookiecutter.use_websocket %}
    websocket,
    # {% endif %}
)


def stack(
    settings: Settings,
    # {% if cookiecutter.use_rate_limit %}
    limiter: Limiter,
    # {% endif %}
) -> list[Middleware]:
    """Return the middleware stack, outermost first. README.md explains the order."""
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
        rate_limit.layer(settings, limiter),
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
        # {% if cookiecutter.jwt != "none" %}
        jwt.layer(
            settings,
            # {% if cookiecutter.jwt == "issue" %}
            # Clients request a new token here, often while they still send the expired one.
            ignored_paths=[f"{settings.api_prefix}/token"],
            # {% endif %}
        ),
        # {% endif %}
        # {% if cookiecutter.background_tasks == "taskiq" %}
        after_commit.layer(),
        # {% endif %}
        # {% if cookiecutter.database != "none" %}
        transaction.layer(),
        # {% endif %}
    ]
    return [layer for layer in layers if layer is not None]
