import json
import logging
import sys
from collections.abc import Callable
from contextvars import copy_context
from datetime import UTC, datetime

import pytest
from opentelemetry.trace import NonRecordingSpan, SpanContext, use_span
from pydantic import SecretStr

from app.config import Settings
from app.core.logging import JSONFormatter, TextFormatter, configure_logging, context

HOSTILE = [
    "\n2026-01-01 INFO forged",
    "\r\nforged",
    "\x1b[2Jforged",
    "\x00\x07\x7f\x9b31m",
    "\u2028forged\u2029forged",
    "\u202edegrof\u202c \u2066a\u2069 \u200ea\u200fa\u061ca",
    '", "level": "CRITICAL',
]


def record(message: str, *args: object, **extra: object) -> logging.LogRecord:
    return logging.getLogger("tests").makeRecord(
        "tests", logging.INFO, __file__, 1, message, args, None, extra=extra
    )


def failed(error: Exception) -> logging.LogRecord:
    entry = record("failed")
    try:
        raise error
    except Exception:
        entry.exc_info = sys.exc_info()
    return entry


@pytest.mark.parametrize("formatter", [JSONFormatter(), TextFormatter()], ids=["json", "text"])
def test_a_line_has_all_there_is_to_know(formatter: logging.Formatter) -> None:
    def format() -> str:
        context.set({"task": "1"})
        return formatter.format(record("%s is %d", "a", 1, count=2, color_message="\x1b[1m"))

    line = copy_context().run(format)
    if isinstance(formatter, TextFormatter):
        assert line.partition(" ")[2] == "INFO     tests: a is 1 task=1 count=2"
    else:
        entry = json.loads(line)
        assert datetime.fromisoformat(entry.pop("time")).tzinfo is UTC
        text = {"level": "INFO", "logger": "tests", "message": "a is 1", "task": "1"}
        assert entry == {**text, "count": 2}


def test_a_line_names_the_trace_that_it_belongs_to() -> None:
    span = NonRecordingSpan(SpanContext(trace_id=0xA, span_id=1, is_remote=False))
    with use_span(span):
        traced = json.loads(JSONFormatter().format(record("a")))
    assert traced["trace_id"] == f"{0xA:032x}"
    assert "trace_id" not in json.loads(JSONFormatter().format(record("a")))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1j, "1j"),
        (float("nan"), None),
        (10**30, 10**30),
        ("\ud800", "\ud800"),
        (b"\xff", "b'\\xff'"),
        (SecretStr("hunter2"), "**********"),
    ],
)
def test_every_value_has_its_place_in_json(value: object, expected: object) -> None:
    line = JSONFormatter().format(record("a", value=value))
    assert line.isascii()
    assert json.loads(line)["value"] == expected


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("formatter", [JSONFormatter(), TextFormatter()], ids=["json", "text"])
def test_no_text_can_forge_a_line(formatter: logging.Formatter, text: str) -> None:
    for entry in (record(text), record("%s", text), record("a", value=text)):
        line = formatter.format(entry)
        assert len(line.splitlines()) == 1
        assert line.isprintable()


@pytest.mark.parametrize("text", HOSTILE)
def test_no_exception_can_forge_a_line(text: str) -> None:
    first, *trace = TextFormatter().format(failed(ValueError(text))).split("\n")
    assert first.endswith("tests: failed")
    assert all(line.startswith("    ") and line.isprintable() for line in trace)


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_can_forge_a_field(text: str) -> None:
    entry = failed(ValueError(text))
    entry.msg = entry.value = text
    line = JSONFormatter().format(entry)
    assert line.isprintable()
    fields = json.loads(line)
    assert fields["level"] == "INFO"
    assert fields["message"] == fields["value"] == text
    assert fields["exception"].endswith(f"ValueError: {text}")


@pytest.mark.usefixtures("own_logging")
@pytest.mark.parametrize("name", ["tests", "uvicorn", "uvicorn.access"])
@pytest.mark.parametrize(
    ("debug", "level", "expected"),
    [
        (False, "INFO", ["info", "error"]),
        (False, "ERROR", ["error"]),
        (True, "INFO", ["info", "error"]),
        (True, "CRITICAL", []),
        (False, "DEBUG", ["debug", "info", "error"]),
    ],
)
def test_all_loggers_write_to_one_place(
    name: str,
    debug: bool,
    level: str,
    expected: list[str],
    make_settings: Callable[..., Settings],
    capsys: pytest.CaptureFixture[str],
) -> None:
    logger = logging.getLogger(name)
    if name.startswith("uvicorn"):  # which sets its loggers up like this
        logger.handlers = [logging.StreamHandler(sys.stderr)]
        logger.propagate = False
        logger.setLevel(logging.INFO)
        expected = [message for message in expected if message != "debug"]
    configure_logging(make_settings(debug=debug, log_level=level))
    logger.debug("debug")
    logger.info("info")
    logger.error("error")
    output = capsys.readouterr()
    lines = output.out.splitlines()
    if debug:
        assert [line.rpartition(f"{name}: ")[2] for line in lines] == expected
    else:
        assert [json.loads(line)["message"] for line in lines] == expected
    assert output.err == ""
