"""Log records: JSON in production, lines for people while DEBUG is on."""

import json
import logging
import sys
from collections.abc import Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from itertools import islice
from types import MappingProxyType

from opentelemetry.trace import format_trace_id, get_current_span

from app.core.settings import CoreSettings

context: ContextVar[Mapping[str, str]] = ContextVar("context", default=MappingProxyType({}))
"""Fields that every record of the current task carries. Set a new mapping; do not change one."""

_STANDARD = len(vars(logging.makeLogRecord({})))
# What formatters add; `color_message` is uvicorn's: its message once more, with escape codes.
_ADDED = {"message", "asctime", "color_message"}
_CONTROL = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))} | {
    0x2028: "\\u2028",
    0x2029: "\\u2029",
}
_encode = json.JSONEncoder(default=str).encode


def trace() -> dict[str, str]:
    """Return the `trace_id` of the current request, if it is traced."""
    span = get_current_span().get_span_context()
    return {"trace_id": format_trace_id(span.trace_id)} if span.is_valid else {}


def _fields(record: logging.LogRecord) -> dict[str, object]:
    # What is added to a record comes after what it is made with.
    extra = islice(vars(record).items(), _STANDARD, None)
    added = {key: value for key, value in extra if key not in _ADDED}
    return {**context.get(), **trace(), **added}


class JSONFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, the context, `extra`, the exception.

    A record of a request that is traced has its `trace_id`, too.
    """

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
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
    for name in ("uvicorn", "uvicorn.access", "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
        # Never lowered: below INFO are the contents of WebSockets.
        logger.setLevel(max(logger.level, logging.root.level))
