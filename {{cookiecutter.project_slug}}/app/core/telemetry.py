"""Traces and metrics, which FastAPI makes and sends to a collector of OpenTelemetry."""

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
    """Where traces and metrics go. The other variables of OpenTelemetry count as well.

    `OTEL_EXPORTER_OTLP_ENDPOINT` (none): a collector that takes OTLP over HTTP, such as
    `http://localhost:4318`. `OTEL_SERVICE_NAME` (none): the name that this service has there.
    Source: https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
    """

    otel_exporter_otlp_endpoint: str = ""
    otel_service_name: str = ""

    @field_validator("otel_exporter_otlp_endpoint")
    @classmethod
    def _check_otel_exporter_otlp_endpoint(cls, url: str) -> str:
        if not url:
            return url
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("give the URL of a collector, such as http://localhost:4318")
        try:
            import_module(EXPORTER)
        except ImportError:
            raise ValueError("install what sends there: uv sync --extra telemetry") from None
        return url


def configure(settings: TelemetrySettings) -> TelemetryConfig:
    """Return how FastAPI shall trace: everything but probes, or nothing without an endpoint."""
    for name in ("otel_exporter_otlp_endpoint", "otel_service_name"):
        if value := getattr(settings, name):
            # The exporters look there alone, and not into `.env`.
            os.environ[name.upper()] = value
    return {
        "auto_configure": bool(settings.otel_exporter_otlp_endpoint),
        "exclude": _is_probe,
    }


def _is_probe(scope: Scope) -> bool:
    return route_path(scope) in (LIVENESS, READINESS)
