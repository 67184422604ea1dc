"""Log records: JSON in production, lines for people while DEBUG is on."""

import json
import logging
import sys
from collections.abc import Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from itertools import islice
from types import MappingProxyType
from typing import Any

from opentelemetry.trace import format_trace_id, get_current_span
from pydantic import TypeAdapter

from app.core.settings import CoreSettings

context: ContextVar[Mapping[str, str]] = ContextVar("context", default=MappingProxyType({}))
"""Fields that every record of the current task carries. Set a new mapping; do not change one."""

_STANDARD = len(vars(logging.makeLogRecord({})))
# What formatters add; `color_message` is uvicorn's: its message once more, with escape codes.
_ADDED = {"message", "asctime", "color_message"}
_CONTROL = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))} | {
    # Ends of lines, and what changes the direction of the text that follows.
    # Source: https://www.unicode.org/reports/tr9/#Bidirectional_Character_Types
    code: f"\\u{code:04x}"
    for code in (0x61C, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A))
}
# Twice as fast as `json`, dates included.
_dump = TypeAdapter(dict[str, Any]).dump_json


def trace() -> dict[str, str]:
    """Return the `trace_id` of the current request, if it is traced."""
    span = get_current_span().get_span_context()
    return {"trace_id": format_trace_id(span.trace_id)} if span.is_valid else {}


def _fields(record: logging.LogRecord) -> dict[str, object]:
    fields: dict[str, object] = {**context.get(), **trace()}
    # What is added to a record comes after what it is made with.
    for key, value in islice(vars(record).items(), _STANDARD, None):
        if key not in _ADDED:
            fields[key] = value
    return fields


def _encode(entry: dict[str, Any]) -> str:
    try:
        line = _dump(entry, fallback=str, ensure_ascii=True).decode()
    except ValueError:
        # Neither bytes that are no text nor half a surrogate pair fit into UTF-8.
        return json.dumps(entry, default=str)
    # DEL is ASCII, and would stay as it is.
    return line.replace("\x7f", "\\u007f")


class JSONFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, the context, `extra`, the exception.

    A record of a request that is traced has its `trace_id`, too.
    """

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": datetime.fromtimestamp(record.created, UTC),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return _encode(entry)


class TextFormatter(logging.Formatter):
    """One line for people, then the traceback. No value can start a line of its own."""

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created).strftime("%H:%M:%S.%f")[:-3]
        fields = "".join(f" {key}={value}" for key, value in _fields(record).items())
        lines = [f"{time} {record.levelname:<8} {record.name}: {record.getMessage()}{fields}"]
        if record.exc_info:
            # Indented: the message of an exception can hold line breaks.
            trace = self.formatException(record.exc_info).split("\n")
            lines += [f"    {line}" for line in trace]
        return "\n".join(line.translate(_CONTROL) for line in lines)


def configure_logging(settings: CoreSettings) -> None:
    """Send all records, uvicorn's too, to standard output in the format that `settings` ask for."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(TextFormatter() if settings.debug else JSONFormatter())
    logging.basicConfig(handlers=[handler], level=settings.log_level, force=True)
    # What no record shows is not looked up for each.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    for name in ("uvicorn", "uvicorn.access", "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
        # Never lowered: below INFO are the contents of WebSockets.
        logger.setLevel(max(logger.level, logging.root.level))
