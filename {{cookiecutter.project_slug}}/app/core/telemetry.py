"""Traces and metrics. FastAPI records them and sends them to an OpenTelemetry collector."""

import os
from importlib import import_module
from urllib.parse import urlsplit

from fastapi.telemetry import TelemetryConfig
from pydantic import field_validator
from starlette.types import Scope

from app.core.paths import LIVENESS, READINESS, route_path
from app.core.settings import CoreSettings

EXPORTER = "opentelemetry.exporter.otlp.proto.http"


class TelemetrySettings(CoreSettings):
    """The export of traces and metrics.

    `OTEL_EXPORTER_OTLP_ENDPOINT` (none): the URL of an OpenTelemetry collector that accepts OTLP
    over HTTP, such as `http://localhost:4318`. Without it, nothing is exported.
    `OTEL_SERVICE_NAME` (none): the name of this service in traces and metrics.
    """

    # OpenTelemetry itself reads more variables from the environment:
    # https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
    otel_exporter_otlp_endpoint: str = ""
    otel_service_name: str = ""

    @field_validator("otel_exporter_otlp_endpoint")
    @classmethod
    def _check_otel_exporter_otlp_endpoint(cls, url: str) -> str:
        if not url:
            return url
        if not _is_url(url):
            raise ValueError("must be the URL of a collector, such as http://localhost:4318")
        try:
            import_module(EXPORTER)
        except ImportError:
            raise ValueError(
                "needs packages that are not installed; run: uv sync --extra telemetry"
            ) from None
        return url


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        # A port that is no number is a ValueError, too, which quotes what may be a password.
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def configure(settings: TelemetrySettings) -> TelemetryConfig:
    """Return the configuration of FastAPI's telemetry. Health checks are not traced."""
    for name in ("otel_exporter_otlp_endpoint", "otel_service_name"):
        if value := getattr(settings, name):
            # The exporters read only the environment, not `.env`.
            os.environ[name.upper()] = value
    return {
        "auto_configure": bool(settings.otel_exporter_otlp_endpoint),
        "exclude": _is_health_check,
    }


def _is_health_check(scope: Scope) -> bool:
    return route_path(scope) in (LIVENESS, READINESS)
