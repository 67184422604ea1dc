"""What a generated service says over HTTP, on its own and behind the proxies that people use."""

import gzip
import json
import re
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

import pytest

from tests.conftest import Bake
from tests.support.proxies import apache, nginx
from tests.support.raw import ask, handshake
from tests.support.service import Service, copied, serving

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("http")]

LIMIT, LARGER, SMALLER = 1_000_000, 2_000_000, 1_000
KEY = "key-of-the-tests-with-32-letters"
# What an owner adds: routes with limits of their own, a mounted application, and files.
ROUTES = f"""
from fastapi import FastAPI, Request
from starlette.staticfiles import StaticFiles

from app.core import errors


async def upload(request: Request) -> int:
    return sum([len(chunk) async for chunk in request.stream()])


async def ignore() -> None: ...


app.post("/upload")(upload)
app.post("/ignore")(ignore)
app.post("/larger", max_body_size={LARGER})(upload)
app.post("/smaller", max_body_size={SMALLER})(upload)
mounted = FastAPI()
mounted.post("/upload")(upload)
errors.set_up(mounted)
app.mount("/mounted", mounted)
app.mount("/files", StaticFiles(directory="files"))
"""


@pytest.fixture(scope="module")
def project(install: Bake, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A service with the routes of an owner, installed."""
    baked = install(use_api_key=True, use_websocket=True)
    project = copied(baked, tmp_path_factory.mktemp("http") / "project")
    with (project / "app/main.py").open("a", encoding="utf-8") as file:
        file.write(ROUTES)
    (project / "files").mkdir()
    (project / "files/large.txt").write_bytes(b"0123456789" * 10_000)
    return project


VARIABLES = {
    "DEBUG": "false",
    "ALLOWED_HOSTS": "[::1],localhost,127.0.0.1",
    "API_KEYS": KEY,
    "API_KEY_PUBLIC_PATHS": "/,/healthz,/readyz,/upload,/ignore,/larger,/smaller,/mounted,/files",
    "MAX_BODY_SIZE": str(LIMIT),
    "WEBSOCKET_ORIGINS": "https://app.example.com",
}


@pytest.fixture(scope="module")
def services(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Service]]:
    """The service alone, behind nginx and behind Apache."""
    with ExitStack() as stack:
        service = stack.enter_context(serving(project, **VARIABLES))
        yield [
            service,
            stack.enter_context(nginx(service, tmp_path_factory.mktemp("nginx"))),
            stack.enter_context(apache(service, tmp_path_factory.mktemp("apache"))),
        ]


@pytest.fixture(params=["alone", "nginx", "apache"])
def service(request: pytest.FixtureRequest, services: list[Service]) -> Service:
    """Each of them."""
    return services[["alone", "nginx", "apache"].index(request.param)]


@dataclass(frozen=True)
class Reply:
    """The final response to an upload, and whether the client was told to continue."""

    status: int
    head: str
    body: bytes
    is_continued: bool


def upload(
    service: Service,
    path: str,
    size: int,
    *,
    is_declared: bool,
    expect: bool,
    host: str = "localhost",
) -> Reply:
    """Send a body as a client does that reads the response only after it has sent everything.

    `expect`: wait for 100 Continue first, and send nothing after any other response.
    """
    length = f"Content-Length: {size}" if is_declared else "Transfer-Encoding: chunked"
    lines = [f"POST {path} HTTP/1.1", f"Host: {host}", length]
    lines += ["Expect: 100-continue"] if expect else []
    content = b"x" * size
    body = content if is_declared else b"%x\r\n%b\r\n0\r\n\r\n" % (size, content)
    address = urlsplit(service.address)
    with socket.create_connection((address.hostname, address.port), timeout=20) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        file = connection.makefile("rb")
        is_continued = False
        head = b""
        if expect:
            head = read_head(file)
            is_continued = b" 100 " in head.split(b"\r\n")[0]
        if is_continued or not expect:
            connection.sendall(body)
            head = read_head(file)
        found = re.search(rb"content-length: (\d+)", head.lower())
        content = file.read(int(found[1])) if found else file.read()
    return Reply(int(head.split()[1]), head.decode().lower(), content, is_continued)


def read_head(file: BinaryIO) -> bytes:
    """Read the lines of a response up to the empty one."""
    return b"".join(iter(file.readline, b"\r\n"))


@pytest.mark.parametrize("expect", [True, False])
@pytest.mark.parametrize("is_declared", [True, False])
@pytest.mark.parametrize(
    ("path", "limit"),
    [("/upload", LIMIT), ("/larger", LARGER), ("/smaller", SMALLER), ("/mounted/upload", LIMIT)],
)
def test_a_body_of_the_limit_passes_and_a_larger_one_is_rejected(
    service: Service, path: str, limit: int, is_declared: bool, expect: bool
) -> None:
    accepted = upload(service, path, limit, is_declared=is_declared, expect=expect)
    assert (accepted.status, accepted.body) == (200, b"%d" % limit)
    assert accepted.is_continued is expect
    rejected = upload(service, path, limit + 1, is_declared=is_declared, expect=expect)
    assert rejected.status == 413
    error = {"code": 413, "message": "Content Too Large", "type": "content_too_large"}
    assert json.loads(rejected.body) == {"success": False, "error": error}
    assert "x-request-id: " in rejected.head


@pytest.mark.parametrize("expect", [True, False])
@pytest.mark.parametrize(
    ("path", "host", "status"),
    [("/nowhere", "localhost", 401), ("/upload/nowhere", "localhost", 404), ("/", "evil.net", 400)],
)
def test_a_response_without_the_body_is_not_lost(
    service: Service, path: str, host: str, status: int, expect: bool
) -> None:
    reply = upload(service, path, 100_000, is_declared=True, expect=expect, host=host)
    assert reply.status == status
    assert json.loads(reply.body)["error"]["code"] == status


def test_the_client_is_told_that_the_connection_closes(services: list[Service]) -> None:
    for path, size, expect in (("/upload", LIMIT + 1, False), ("/nowhere", 1, True)):
        reply = upload(services[0], path, size, is_declared=True, expect=expect)
        assert "connection: close" in reply.head
    reply = upload(services[0], "/nowhere", 1, is_declared=True, expect=False)
    assert "connection: close" not in reply.head


@pytest.mark.parametrize("path", ["/", "/healthz", "/readyz", "/files/large.txt"])
def test_head_has_the_headers_of_get(service: Service, path: str) -> None:
    for accepted in (b"gzip", b"identity"):
        replies = [
            ask(service, path.encode(), (b"Accept-Encoding", accepted), method=method)
            for method in (b"GET", b"HEAD")
        ]
        assert [reply.status for reply in replies] == [200, 200]
        assert replies[1].body == b""
        get, head = (
            {line.split(b":")[0].lower() for line in reply.head.split(b"\r\n")[1:]}
            for reply in replies
        )
        unknown = {b"content-length", b"transfer-encoding", b"connection"}
        assert get - unknown == head - unknown


def test_a_compressed_file_is_revalidated_and_never_continued(service: Service) -> None:
    path = "/files/large.txt"
    plain = service.get(path, Accept_Encoding="identity")
    compressed = service.get(path, Accept_Encoding="gzip")
    assert gzip.decompress(compressed.body) == plain.body
    assert compressed.headers["etag"] == f"W/{plain.headers['etag']}"
    assert (plain.headers["accept-ranges"], compressed.headers["accept-ranges"]) == ("bytes", None)
    for full, accepted in ((plain, "identity"), (compressed, "gzip")):
        same = service.get(path, Accept_Encoding=accepted, If_None_Match=full.headers["etag"])
        assert (same.status, same.headers["etag"]) == (304, full.headers["etag"])
        part = service.get(
            path, Accept_Encoding=accepted, Range="bytes=99990-", If_Range=full.headers["etag"]
        )
        assert part.status == (206 if full is plain else 200)
    part = service.get(path, Accept_Encoding="gzip", Range="bytes=99990-")
    assert (part.status, part.body) == (206, b"0123456789")


def test_an_ipv6_address_is_an_allowed_host(services: list[Service]) -> None:
    assert ask(services[0], b"/", host=b"[::1]:8000").status == 200
    assert ask(services[0], b"/", host=b"[::2]:8000").status == 400


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        (b"https://localhost", 101),
        (b"https://app.example.com", 101),
        (b"https://evil.net", 403),
        (b"null", 403),
    ],
)
def test_pages_of_the_service_itself_may_open_a_websocket(
    services: list[Service], origin: bytes, status: int
) -> None:
    pairs = handshake((b"Host", b"localhost"), (b"Origin", origin), (b"X-API-Key", KEY.encode()))
    headers = {name.decode(): value.decode() for name, value in pairs}
    for service in services[:2]:
        with closing(HTTPConnection(urlsplit(service.address).netloc, timeout=10)) as connection:
            connection.request("GET", "/ws", headers=headers)
            assert connection.getresponse().status == status


# nginx decodes a path from which it removes a prefix, and encodes it again.
@pytest.mark.parametrize(("prefix", "mounted"), [("", "a%20b%2Fc"), ("/prefix", "a%20b")])
def test_the_log_has_the_path_that_the_client_sent(
    project: Path, tmp_path: Path, prefix: str, mounted: str
) -> None:
    paths = [prefix + path for path in ("/files/large.txt", f"/mounted/{mounted}", "/nowhere", "/")]
    copy = copied(project, tmp_path / "project")
    variables = VARIABLES | {"UVICORN_ROOT_PATH": prefix}
    with serving(copy, **variables) as service, nginx(service, tmp_path) as proxy:
        for path in paths:
            proxy.get(f"{path}?token=hunter2")
        deadline = time.monotonic() + 10
        logged: list[str] = []
        while len(logged) < len(paths) and time.monotonic() < deadline:
            log = (copy / "uvicorn.log").read_text(encoding="utf-8")
            logged = re.findall(r'"path":"([^"]*)"', log)
    assert logged == paths
    assert "hunter2" not in log
