import os
import sys
from types import ModuleType

import pytest
from pydantic import ValidationError

from app.core.settings import describe
from app.core.telemetry import EXPORTER, TelemetrySettings, configure

ENDPOINT = "http://127.0.0.1:4318"
NAMES = ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_SERVICE_NAME"]


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretend that the extra `telemetry` is installed."""
    monkeypatch.setitem(sys.modules, EXPORTER, ModuleType(EXPORTER))
    for name in NAMES:
        monkeypatch.setenv(name, "")


def test_it_is_off_without_an_endpoint() -> None:
    assert configure(TelemetrySettings())["auto_configure"] is False


@pytest.mark.usefixtures("exporter")
def test_an_endpoint_turns_it_on() -> None:
    settings = TelemetrySettings(otel_exporter_otlp_endpoint=ENDPOINT, otel_service_name="a")
    assert configure(settings)["auto_configure"] is True
    assert [os.environ[name] for name in NAMES] == [ENDPOINT, "a"]


@pytest.mark.usefixtures("exporter")
@pytest.mark.parametrize("url", ["localhost:4318", "grpc://hunter2", "http://", "/v1/traces"])
def test_an_invalid_endpoint_is_rejected(url: str) -> None:
    with pytest.raises(ValidationError) as caught:
        TelemetrySettings(otel_exporter_otlp_endpoint=url)
    assert list(describe(caught.value)) == [
        "OTEL_EXPORTER_OTLP_ENDPOINT: must be the URL of a collector, such as http://localhost:4318"
    ]


def test_an_endpoint_requires_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, EXPORTER, None)
    with pytest.raises(ValidationError) as caught:
        TelemetrySettings(otel_exporter_otlp_endpoint=ENDPOINT)
    assert list(describe(caught.value)) == [
        "OTEL_EXPORTER_OTLP_ENDPOINT: needs packages that are not installed; "
        "run: uv sync --extra telemetry"
    ]


@pytest.mark.parametrize(
    ("path", "excluded"),
    [("/healthz", True), ("/readyz", True), ("/", False), ("/healthzz", False)],
)
def test_health_checks_are_not_traced(path: str, excluded: bool) -> None:
    is_excluded = configure(TelemetrySettings())["exclude"]
    assert is_excluded
    assert is_excluded({"type": "http", "path": path}) is excluded
