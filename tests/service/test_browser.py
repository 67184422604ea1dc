"""A generated service, called by web pages in a real browser."""

import http.server
import os
import shutil
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.conftest import Bake
from tests.support.raw import sign
from tests.support.redis_server import unavailable
from tests.support.service import Service, serving

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("browser")]

SECRET = "a-secret-that-both-know-of-32-bytes"
REJECTED = {"opened": False, "received": [], "protocol": "", "code": 1006, "clean": False}

# Without requests of the browser itself.
OPTIONS = """
    --headless --no-sandbox --disable-gpu --disable-quic --no-first-run
    --disable-background-networking --disable-component-update --disable-sync
""".split()

# Resolves to the messages that a WebSocket received, and how it was closed.
TALK = """
([address, protocols, texts]) => new Promise(resolve => {
    const socket = new WebSocket(address, protocols), received = []
    let opened = false
    socket.onopen = () => { opened = true; texts.forEach(text => socket.send(text)) }
    socket.onmessage = event => {
        received.push(JSON.parse(event.data))
        if (received.length > texts.length) socket.close(1000)
    }
    socket.onclose = event => resolve({
        opened, received, protocol: socket.protocol, code: event.code, clean: event.wasClean,
    })
})
"""


class PageHandler(http.server.BaseHTTPRequestHandler):
    """Responds with an empty page."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>Page</title>")

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture(scope="module")
def pages() -> Iterator[tuple[str, str]]:
    """Serve a page at an allowed and at a foreign origin, and return both addresses."""
    servers = [http.server.ThreadingHTTPServer(("127.0.0.1", 0), PageHandler) for _ in range(2)]
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    allowed, foreign = (f"http://127.0.0.1:{server.server_port}" for server in servers)
    yield allowed, foreign
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def service(install: Bake, pages: tuple[str, str]) -> Iterator[Service]:
    """Serve a service that allows the first of the origins."""
    project = install(use_websocket=True)
    with serving(project, BACKEND_CORS_ORIGINS=pages[0]) as service:
        yield service


@pytest.fixture(scope="module")
def service_with_users(install: Bake, pages: tuple[str, str]) -> Iterator[Service]:
    """Serve a service that allows the first of the origins, and requires a token."""
    project = install(use_websocket=True, jwt="verify")
    settings = {"JWT_SECRET_KEY": SECRET, "JWT_ISSUER": "tests", "JWT_AUDIENCE": "tests"}
    with serving(project, BACKEND_CORS_ORIGINS=pages[0], **settings) as service:
        yield service


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Start the Chromium of this machine."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        unavailable("chromium is not installed")
    home: Path = tmp_path_factory.mktemp("home")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program, args=OPTIONS, env={**os.environ, "HOME": str(home)}
        )
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """Open a tab."""
    page = browser.new_page()
    yield page
    page.close()


def talk(
    page: Page, service: Service, path: str, *texts: str, protocols: Sequence[str] = ()
) -> dict[str, Any]:
    """Open a WebSocket from a page, send texts, and return the result of `TALK`."""
    address = service.address.replace("http", "ws") + path
    result: dict[str, Any] = page.evaluate(TALK, [address, list(protocols), list(texts)])
    return result


def token(secret: str = SECRET, *, lifetime: int = 3600) -> str:
    """Return an access token of the user ada."""
    now = int(time.time())
    claims = {
        "iss": "tests",
        "aud": "tests",
        "sub": "ada",
        "jti": "1",
        "iat": now,
        "exp": now + lifetime,
    }
    return sign({"alg": "HS256", "typ": "at+jwt"}, claims, secret.encode()).decode()


def test_a_page_of_an_allowed_origin_connects(
    page: Page, service: Service, pages: tuple[str, str]
) -> None:
    page.goto(pages[0])
    result = talk(page, service, "/ws/lobby", '{"text": "hello 👋"}', "nonsense")
    received = {message["type"]: message for message in result["received"]}
    assert set(received) == {"joined", "message", "error"}
    assert received["message"]["text"] == "hello 👋"
    assert received["message"]["sender"] == received["joined"]["sender"]
    assert (result["code"], result["clean"]) == (1000, True)


def test_pages_receive_messages_of_each_other(
    browser: Browser, service: Service, pages: tuple[str, str]
) -> None:
    first, second = browser.new_page(), browser.new_page()
    address = service.address.replace("http", "ws") + "/ws/both"
    for page in (first, second):
        page.goto(pages[0])
        page.evaluate(
            """address => new Promise(resolve => {
                received = []
                socket = new WebSocket(address)
                socket.onmessage = event => { received.push(JSON.parse(event.data)); resolve() }
            })""",
            address,
        )
    first.evaluate("socket.send(JSON.stringify({text: 'over there?'}))")
    second.wait_for_function("received.some(message => message.text === 'over there?')")
    first.wait_for_function("received.some(message => message.text === 'over there?')")
    second.close()
    first.wait_for_function("received.some(message => message.type === 'left')")
    first.close()


def test_a_page_of_a_foreign_origin_is_rejected(
    page: Page, service: Service, pages: tuple[str, str]
) -> None:
    page.goto(pages[1])
    for path in ("/ws", "/ws/lobby"):
        assert talk(page, service, path, '{"text": "let me in"}') == REJECTED


def test_a_page_without_an_origin_is_rejected(page: Page, service: Service) -> None:
    page.set_content("<!doctype html>")
    assert page.evaluate("origin") == "null"
    assert talk(page, service, "/ws/lobby")["code"] == 1006


def test_a_page_with_a_token_connects_as_its_user(
    page: Page, service_with_users: Service, pages: tuple[str, str]
) -> None:
    page.goto(pages[0])
    protocols = ["bearer", token()]
    result = talk(page, service_with_users, "/ws/lobby", '{"text": "hello"}', protocols=protocols)
    joined, message = result.pop("received")
    assert (joined["type"], joined["sender"]) == ("joined", "ada")
    assert message == {"type": "message", "room": "lobby", "sender": "ada", "text": "hello"}
    # The server selects the first of the offered protocols, which does not reveal the token.
    assert result == {"opened": True, "protocol": "bearer", "code": 1000, "clean": True}


@pytest.mark.parametrize(
    "protocols",
    [
        [],
        ["bearer"],
        ["bearer", token("another-secret-of-as-many-bytes-as-that")],
        ["bearer", token(lifetime=-3600)],
        ["bearer", "nonsense"],
        ["chat", token()],
    ],
    ids=["none", "no token", "wrong secret", "expired", "nonsense", "wrong protocol"],
)
@pytest.mark.parametrize("path", ["/ws", "/ws/lobby"])
def test_a_page_without_a_valid_token_is_rejected(
    page: Page, service_with_users: Service, pages: tuple[str, str], path: str, protocols: list[str]
) -> None:
    page.goto(pages[0])
    assert talk(page, service_with_users, path, "let me in", protocols=protocols) == REJECTED


def test_a_page_of_a_foreign_origin_is_rejected_with_a_token_too(
    page: Page, service_with_users: Service, pages: tuple[str, str]
) -> None:
    page.goto(pages[1])
    assert talk(page, service_with_users, "/ws/lobby", protocols=["bearer", token()]) == REJECTED
