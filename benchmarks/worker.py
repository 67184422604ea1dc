"""A process that measures the requests of one application.

Each line of JSON on standard input specifies the number of requests and their headers. The process
prints the average processor time of a request in seconds, which does not depend on other load.
"""

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

from applications import create, log_to


async def receive() -> dict[str, Any]:
    """Return an empty body."""
    return {"type": "http.request", "body": b"", "more_body": False}


async def send(message: dict[str, Any]) -> None:
    """Check the status of the response."""
    assert message.get("status", 200) == 200, message


async def ask(app: Any, headers: list[tuple[bytes, bytes]], requests: int, path: str) -> float:
    """Return the average processor time of a request in seconds."""
    raw = path.encode()
    started = time.process_time()
    for _ in range(requests):
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "server": ("127.0.0.1", 8000),
            "client": ("127.0.0.1", 50000),
            "scheme": "http",
            "method": "GET",
            "root_path": "",
            "path": path,
            "raw_path": raw,
            "query_string": b"",
            "headers": headers[:],
            "state": {},
        }
        await app(scope, receive, send)
    return (time.process_time() - started) / requests


def main() -> None:
    """Measure requests until standard input ends."""
    specification, log = json.loads(sys.argv[1]), Path(sys.argv[2])
    log_to(log, specification["name"], specification.pop("records", "written"))
    app = create(**specification)
    print("ready", flush=True)
    with asyncio.Runner() as runner:
        for line in sys.stdin:
            order = json.loads(line)
            headers = [(key.encode(), value.encode()) for key, value in order["headers"].items()]
            seconds = runner.run(ask(app, headers, order["requests"], order.get("path", "/")))
            print(seconds, flush=True)


if __name__ == "__main__":
    main()
