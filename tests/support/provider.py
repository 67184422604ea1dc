"""An identity provider for tests: what it publishes at which path, and what it was asked for."""

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

OPENID = "/.well-known/openid-configuration"


@dataclass(frozen=True)
class Document:
    """A response of the provider."""

    body: bytes
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


class Provider:
    """Serves documents on this machine."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.documents: dict[str, Document] = {}
        self.requested: list[str] = []

    def publish(self, path: str, content: Any) -> str:
        """Serve a JSON document, and return its URL."""
        self.documents[path] = Document(json.dumps(content).encode())
        return self.url + path

    def redirect(self, path: str, target: str, status: int = 302) -> None:
        """Redirect a path to a URL."""
        self.documents[path] = Document(b"", status, {"Location": target})

    def publish_metadata(self, issuer: str, keys_url: str, path: str | None = None) -> None:
        """Serve the metadata of an issuer of this provider, by default in its usual place."""
        place = issuer.removeprefix(self.url).rstrip("/") + OPENID
        self.publish(place if path is None else path, {"issuer": issuer, "jwks_uri": keys_url})


@contextmanager
def provider() -> Iterator[Provider]:
    """Run a provider that has published nothing yet."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            running.requested.append(self.path)
            document = running.documents.get(self.path, Document(b"", 404))
            self.send_response(document.status)
            for name, value in document.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(document.body)

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        running = Provider(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, args=[0.02])
        thread.start()
        try:
            yield running
        finally:
            server.shutdown()
            thread.join()
