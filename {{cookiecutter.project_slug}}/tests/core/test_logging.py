import json
import logging
import sys
from collections.abc import Callable
from contextvars import copy_context
from typing import Any

import pytest

from app.core.config import Settings
from app.core.logging import JSONFormatter, TextFormatter, configure_logging, context

HOSTILE = [
    "\n2026-01-01 INFO forged",
    "\r\nforged",
    "\x1b[2Jforged",
    "\x00\x07\x7f\x9b31m",
    "\u2028forged\u2029forged",
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


def test_a_json_line_has_all_there_is_to_know() -> None:
    def format() -> str:
        context.set({"task": "1"})
        return JSONFormatter().format(record("%s is %d", "a", 1, count=2, color_message="\x1b[1m"))

    entry = json.loads(copy_context().run(format))
    assert entry.pop("time").endswith("+00:00")
    assert entry == {
        "level": "INFO",
        "logger": "tests",
        "message": "a is 1",
        "task": "1",
        "count": 2,
    }


def test_a_text_line_has_all_there_is_to_know() -> None:
    def format() -> str:
        context.set({"task": "1"})
        return TextFormatter().format(record("%s is %d", "a", 1, count=2, color_message="\x1b[1m"))

    line = copy_context().run(format)
    assert line.partition(" ")[2] == "INFO     tests: a is 1 task=1 count=2"


def test_a_value_that_json_does_not_know_is_text() -> None:
    entry = json.loads(JSONFormatter().format(record("a", value={1j: ValueError("b")}.values())))
    assert "ValueError" in entry["value"]


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("formatter", [JSONFormatter(), TextFormatter()], ids=["json", "text"])
def test_no_text_can_forge_a_line(formatter: logging.Formatter, text: str) -> None:
    for entry in (record(text), record("%s", text), record("a", value=text)):
        line = formatter.format(entry)
        assert len(line.splitlines()) == 1
        assert line.isprintable()


@pytest.mark.parametrize("text", HOSTILE)
def test_no_json_value_can_forge_a_field(text: str) -> None:
    entry = json.loads(JSONFormatter().format(record(text, value=text)))
    assert entry["level"] == "INFO"
    assert entry["message"] == entry["value"] == text


@pytest.mark.parametrize("text", HOSTILE)
def test_no_exception_can_forge_a_line(text: str) -> None:
    first, *trace = TextFormatter().format(failed(ValueError(text))).split("\n")
    assert first.endswith("tests: failed")
    assert all(line.startswith("    ") and line.isprintable() for line in trace)

    line = JSONFormatter().format(failed(ValueError(text)))
    assert line.isprintable()
    assert json.loads(line)["exception"].endswith(f"ValueError: {text}")


@pytest.mark.usefixtures("own_logging")
@pytest.mark.parametrize("name", ["tests", "uvicorn", "uvicorn.access"])
@pytest.mark.parametrize(
    ("changes", "json_lines", "expected"),
    [
        ({}, True, ["info", "error"]),
        ({"log_level": "ERROR"}, True, ["error"]),
        ({"debug": True}, False, ["info", "error"]),
        ({"debug": True, "log_level": "CRITICAL"}, False, []),
    ],
    ids=str,
)
def test_all_loggers_write_to_one_place(
    name: str,
    changes: dict[str, Any],
    json_lines: bool,
    expected: list[str],
    make_settings: Callable[..., Settings],
    capsys: pytest.CaptureFixture[str],
) -> None:
    logger = logging.getLogger(name)
    if name != "tests":  # as uvicorn sets them up
        logger.handlers = [logging.StreamHandler(sys.stderr)]
        logger.propagate = False
        logger.setLevel(logging.INFO)
    configure_logging(make_settings(**changes))
    for level in ("debug", "info", "error"):
        logger.log(logging.getLevelNamesMapping()[level.upper()], level)
    output = capsys.readouterr()
    assert output.err == ""
    lines = output.out.splitlines()
    if json_lines:
        assert [json.loads(line)["message"] for line in lines] == expected
    else:
        assert [line.rpartition(f"{name}: ")[2] for line in lines] == expected
