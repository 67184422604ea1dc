"""The settings of this service, read from the environment and `.env`."""

import sys
from functools import lru_cache

from pydantic import ValidationError
from pydantic_settings import BaseSettings

from app.core.server_settings import ServerSettings
from app.core.settings import SETTINGS_CONFIG, CoreSettings, describe
from app.core.telemetry import TelemetrySettings

# {%- if cookiecutter.database != "none" +%}
from app.db import DatabaseSettings

# {%- endif +%}
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
    # {% if cookiecutter.jwt != "none" %}
    jwt,
    # {% endif %}
    # {% if cookiecutter.use_rate_limit %}
    rate_limit,
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

# {%- if cookiecutter.background_tasks == "taskiq" +%}
from app.tasks import broker

# {%- elif cookiecutter.background_tasks == "fastapi" %}{{ "\n" }}from app.tasks import runner
# {%- endif +%}


class Settings(
    # {% if cookiecutter.use_api_key %}
    api_key.APIKeySettings,
    # {% endif %}
    body_limit.BodyLimitSettings,
    # {% if cookiecutter.use_cors %}
    cors.CORSSettings,
    # {% endif %}
    # {% if cookiecutter.database != "none" %}
    DatabaseSettings,
    # {% endif %}
    # {% if cookiecutter.use_example_middleware %}
    example.ExampleSettings,
    # {% endif %}
    # {% if cookiecutter.use_gzip %}
    gzip.GZipSettings,
    # {% endif %}
    # {% if cookiecutter.jwt != "none" %}
    jwt.JWTSettings,
    # {% endif %}
    # {% if cookiecutter.use_rate_limit %}
    rate_limit.RateLimitSettings,
    # {% endif %}
    # {% if cookiecutter.use_security_headers %}
    security_headers.SecurityHeadersSettings,
    # {% endif %}
    ServerSettings,
    # {% if cookiecutter.background_tasks == "taskiq" %}
    broker.TaskSettings,
    # {% elif cookiecutter.background_tasks == "fastapi" %}    runner.TaskSettings,
    # {% endif %}
    TelemetrySettings,
    # {% if cookiecutter.use_trusted_host %}
    trusted_host.TrustedHostSettings,
    # {% endif %}
    # {% if cookiecutter.use_websocket %}
    websocket.WebSocketSettings,
    # {% endif %}
    CoreSettings,
    BaseSettings,
):
    """All settings. A field is read from the environment variable of its name in upper case."""

    model_config = SETTINGS_CONFIG


@lru_cache
def get_settings() -> Settings:
    """Read the settings once.

    Ends the process with status 3 when one is missing or unsafe, after a line for each that says
    what to do. Three is uvicorn's own status for an application that cannot start: with
    `--workers` it then stops, where any other would be respawned forever.
    """
    try:
        return Settings()
    except ValidationError as error:
        print("Invalid settings:", *describe(error), sep="\n  ", file=sys.stderr)
        raise SystemExit(3) from None
