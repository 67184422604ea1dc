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
    """Stands for what the extra installs."""
    monkeypatch.setitem(sys.modules, EXPORTER, ModuleType(EXPORTER))
    for name in NAMES:
        monkeypatch.setenv(name, "")


def test_it_is_off_without_an_endpoint() -> None:
    assert configure(TelemetrySettings())["auto_configure"] is False


@pytest.mark.usefixtures("exporter")
def test_an_endpoint_of_the_settings_turns_it_on() -> None:
    settings = TelemetrySettings(otel_exporter_otlp_endpoint=ENDPOINT, otel_service_name="a")
    assert configure(settings)["auto_configure"] is True
    assert [os.environ[name] for name in NAMES] == [ENDPOINT, "a"]


@pytest.mark.usefixtures("exporter")
@pytest.mark.parametrize("url", ["localhost:4318", "grpc://hunter2", "http://", "/v1/traces"])
def test_an_endpoint_is_the_url_of_a_collector(url: str) -> None:
    with pytest.raises(ValidationError) as refusal:
        TelemetrySettings(otel_exporter_otlp_endpoint=url)
    assert list(describe(refusal.value)) == [
        "OTEL_EXPORTER_OTLP_ENDPOINT: give the URL of a collector, such as http://localhost:4318"
    ]


def test_an_endpoint_asks_for_what_sends_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, EXPORTER, None)
    with pytest.raises(ValidationError) as refusal:
        TelemetrySettings(otel_exporter_otlp_endpoint=ENDPOINT)
    assert list(describe(refusal.value)) == [
        "OTEL_EXPORTER_OTLP_ENDPOINT: install what sends there: uv sync --extra telemetry"
    ]


@pytest.mark.parametrize(
    ("path", "excluded"),
    [("/healthz", True), ("/readyz", True), ("/", False), ("/healthzz", False)],
)
def test_probes_leave_no_trace(path: str, excluded: bool) -> None:
    is_excluded = configure(TelemetrySettings())["exclude"]
    assert is_excluded
    assert is_excluded({"type": "http", "path": path}) is excluded
