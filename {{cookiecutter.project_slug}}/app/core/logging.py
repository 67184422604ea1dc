"""Format log records: as JSON in production, as readable lines if DEBUG is on."""

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
"""Fields of every record of the current task. Set a new mapping instead of changing one."""

_STANDARD = len(vars(logging.makeLogRecord({})))
# Added by formatters, and by uvicorn: `color_message` is its message with escape codes.
_ADDED = {"message", "asctime", "color_message"}
_CONTROL = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))} | {
    # Ends of lines, and what changes the direction of the text that follows.
    # Source: https://www.unicode.org/reports/tr9/#Bidirectional_Character_Types
    code: f"\\u{code:04x}"
    for code in (0x61C, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A))
}
# Unlike `json`, it writes NaN as null, as the format requires, and dates.
_dump = TypeAdapter(dict[str, Any]).dump_json


def trace() -> dict[str, str]:
    """Return the `trace_id` of the current request, or nothing if it is not traced."""
    span = get_current_span().get_span_context()
    return {"trace_id": format_trace_id(span.trace_id)} if span.is_valid else {}


def _fields(record: logging.LogRecord) -> dict[str, object]:
    fields: dict[str, object] = {**context.get(), **trace()}
    # The attributes of `extra` come after the standard ones.
    for key, value in islice(vars(record).items(), _STANDARD, None):
        if key not in _ADDED:
            fields[key] = value
    return fields


def _encode(entry: dict[str, Any]) -> str:
    try:
        line = _dump(entry, fallback=str, ensure_ascii=True).decode()
    except ValueError:
        # UTF-8 can represent neither arbitrary bytes nor half a surrogate pair.
        return json.dumps(entry, default=str)
    # DEL is ASCII, so it was not escaped.
    return line.replace("\x7f", "\\u007f")


class JSONFormatter(logging.Formatter):
    """Formats a record as one line of JSON.

    It has the time, level, logger and message, the fields of `context` and `extra`, the traceback of
    an exception, and the `trace_id` if the request is traced.
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
    """Formats a record as a readable line and a traceback. No value can start a line of its own."""

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created).strftime("%H:%M:%S.%f")[:-3]
        fields = "".join(f" {key}={value}" for key, value in _fields(record).items())
        lines = [f"{time} {record.levelname:<8} {record.name}: {record.getMessage()}{fields}"]
        if record.exc_info:
            # Indented, because the message of an exception may contain line breaks.
            trace = self.formatException(record.exc_info).split("\n")
            lines += [f"    {line}" for line in trace]
        return "\n".join(line.translate(_CONTROL) for line in lines)


def configure_logging(settings: CoreSettings) -> None:
    """Write all records, including uvicorn's, to standard output as `settings` say."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(TextFormatter() if settings.debug else JSONFormatter())
    logging.basicConfig(handlers=[handler], level=settings.log_level, force=True)
    for name in ("uvicorn", "uvicorn.access", "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
        # Never lowered, because the contents of WebSockets are logged below INFO.
        logger.setLevel(max(logger.level, logging.root.level))
