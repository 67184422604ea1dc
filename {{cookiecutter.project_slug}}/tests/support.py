"""Helpers without fixtures. conftest.py adds the credentials and settings of the options."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest
from fastapi.testclient import TestClient
from httpx2 import Client, Response
from starlette.testclient import WebSocketDenialResponse
from starlette.types import ASGIApp, Message

# The credentials that requests need.
HEADERS = {"Accept": "*/*"}

# The environment variables of a service in production.
ENVIRONMENT = {"DEBUG": "false"}


def call_app(
    app: ASGIApp, *messages: Message, sent: list[Message] | None = None, **changes: Any
) -> list[Message]:
    """Call an application as a server does, and return the messages that it sends.

    `messages`: the messages that it receives, by default a request without a body. A disconnect
    follows. `sent`: a list for the messages that it sends, for applications that raise an
    exception. `changes`: changes of the scope.
    """
    sent = [] if sent is None else sent
    received = iter(messages or [{"type": "http.request"}])
    headers = {"Host": "testserver"} | HEADERS
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/",
        "root_path": "",
        "query_string": b"",
        "headers": [(name.lower().encode(), headers[name].encode()) for name in headers],
        "client": ("127.0.0.1", 50000),
        "server": ("testserver", 80),
    }

    async def receive() -> Message:
        return next(received, {"type": "http.disconnect"})

    async def send(message: Message) -> None:
        sent.append(message)

    async def run() -> None:
        with anyio.fail_after(60):
            await app(scope | changes, receive, send)

    anyio.run(run)
    return sent


def reject_websocket(client: TestClient, url: str, **headers: str) -> Response:
    """Request a WebSocket that the service rejects, and return the response."""
    with pytest.raises(WebSocketDenialResponse) as denial:
        client.websocket_connect(url, headers=headers).__enter__()
    return denial.value


class Server(subprocess.Popen[str]):
    """A process that runs uvicorn on a free port."""

    def __init__(self, target: str, directory: Path) -> None:
        command = [sys.executable, "-m", "uvicorn", target, "--port=0"]
        environ = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
        pipe = subprocess.PIPE
        super().__init__(command, cwd=directory, env=environ, stdout=pipe, stderr=pipe, text=True)

    def connect(self) -> Client:
        """Wait until the server is ready, and return a client with all credentials."""
        assert self.stdout
        for line in self.stdout:
            if "running on http" in (message := json.loads(line)["message"]):
                url = message.split()[3]
                return Client(base_url=url, headers=HEADERS, timeout=30, trust_env=False)
        raise AssertionError(f"uvicorn did not start: {self.communicate()}")

    def stop(self) -> list[dict[str, Any]]:
        """Stop the server by SIGTERM, and return the records that it has logged since `connect`."""
        self.terminate()
        output, _ = self.communicate()
        return [json.loads(line) for line in output.splitlines()]
