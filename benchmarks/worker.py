"""One application in a process of its own, which says how long its requests take.

A line of JSON on standard input is a question: how many requests, with which headers. The answer is
a line with the processor time that one took, in seconds, which a busy machine does not stretch.
"""

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

from applications import create, log_to


async def receive() -> dict[str, Any]:
    """There is no body."""
    return {"type": "http.request", "body": b"", "more_body": False}


async def send(message: dict[str, Any]) -> None:
    """Take the answer, which must be a good one."""
    assert message.get("status", 200) == 200, message


async def ask(app: Any, headers: list[tuple[bytes, bytes]], requests: int, path: str) -> float:
    """Return the time that one request takes."""
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
    """Answer until there are no more questions."""
    specification, log = json.loads(sys.argv[1]), Path(sys.argv[2])
    log_to(log, specification["name"], specification.pop("records", "written"))
    app = create(**specification)
    print("ready", flush=True)
    with asyncio.Runner() as runner:
        for line in sys.stdin:
            question = json.loads(line)
            headers = [(key.encode(), value.encode()) for key, value in question["headers"].items()]
            took = runner.run(ask(app, headers, question["requests"], question.get("path", "/")))
            print(took, flush=True)


if __name__ == "__main__":
    main()
