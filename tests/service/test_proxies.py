"""The recipes of docs/deployment.md: a proxy in front of a Unix socket, with a path prefix."""

import grp
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from websockets.sync.client import connect

from tests.conftest import Bake
from tests.support.service import DEADLINE, environment
from tests.support.template import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("proxies")]

SOCKET = "/run/my-service/socket"
# Not an address of a proxy.
CLIENT = "127.0.0.9"
NGINX = """
daemon off;
user {user};
pid {directory}/pid;
error_log stderr;
events {{ }}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
{recipe}
}}
"""
APACHE = """
ServerRoot {directory}
PidFile {directory}/pid
ErrorLog /dev/stderr
User {user}
Group {user}
Listen 127.0.0.1:{port}
{modules}
{recipe}
"""
MODULES = "mpm_event authz_core headers proxy proxy_http".split()


def recipe(language: str, **changes: str) -> str:
    """Return a recipe of the page, with some words replaced, each of which it has."""
    page = (ROOT / "docs/deployment.md").read_text(encoding="utf-8")
    text = page.partition(f"```{language}\n")[2].partition("```")[0]
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    return text


@pytest.fixture
def port() -> int:
    """A port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory whose files belong to the group of the proxy."""
    with tempfile.TemporaryDirectory(prefix="proxy-") as name:
        path = Path(name)
        if os.getuid() == 0:
            os.chown(path, 0, grp.getgrnam("www-data").gr_gid)
        path.chmod(0o2770)
        yield path


@pytest.fixture
def proxy(request: pytest.FixtureRequest, port: int, directory: Path) -> list[str]:
    """The command that starts a proxy in front of the socket in `directory`."""
    path = f"{directory}/socket"
    if request.param == "nginx":
        text = recipe("nginx", **{SOCKET: path, "listen 80": f"listen 127.0.0.1:{port}"})
        text = NGINX.format(recipe=text, directory=directory, user="www-data")
        command = ["/usr/sbin/nginx", "-c", f"{directory}/conf", "-e", "stderr"]
    else:
        folder = "/usr/lib/apache2/modules"
        modules = "".join(f"LoadModule {m}_module {folder}/mod_{m}.so\n" for m in MODULES)
        text = recipe("apache", **{SOCKET: path, "*:80": f"127.0.0.1:{port}"})
        text = APACHE.format(
            recipe=text, directory=directory, port=port, modules=modules, user="www-data"
        )
        command = ["/usr/sbin/apache2", "-f", f"{directory}/conf", "-DFOREGROUND"]
    if not shutil.which(command[0]):
        message = f"{request.param} is not installed"
        if os.environ.get("REQUIRE_SERVICES"):
            pytest.fail(message)
        pytest.skip(message)
    (directory / "conf").write_text(text, encoding="utf-8")
    return command


@contextmanager
def running(command: list[str], log: Path, project: Path, **variables: str) -> Iterator[None]:
    """Run a program until the block ends."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=project, env=environment(**variables), stdout=output, stderr=output
        )
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(DEADLINE)


def get(port: int, path: str, **headers: str) -> tuple[int, bytes]:
    """Ask the proxy, from an address that is not its own."""
    connection = http.client.HTTPConnection(
        "127.0.0.1", port, timeout=DEADLINE, source_address=(CLIENT, 0)
    )
    connection.request("GET", path, headers={k.replace("_", "-"): v for k, v in headers.items()})
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return response.status, body


def wait_for(port: int, log: Path) -> None:
    """Wait until the service responds through the proxy."""
    deadline = time.monotonic() + DEADLINE
    while True:
        try:
            if get(port, "/shop/healthz")[0] == 200:
                return
        except ConnectionError:
            pass
        assert time.monotonic() < deadline, log.read_text(encoding="utf-8")
        time.sleep(0.05)


@pytest.mark.parametrize("proxy", ["nginx", "apache"], indirect=True)
def test_a_recipe(install: Bake, proxy: list[str], port: int, directory: Path) -> None:
    project = install(use_websocket=True)
    serve = [f"{project}/.venv/bin/python", "-m", "app.serve", "--uds", f"{directory}/socket"]
    variables = {"DEBUG": "false", "ALLOWED_HOSTS": "127.0.0.1"}
    log = directory / "serve.log"
    # Of a service that was killed.
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(f"{directory}/socket")
    with (
        running([*serve, "--root-path", "/shop"], log, project, **variables),
        running(proxy, directory / "proxy.log", project),
    ):
        wait_for(port, directory / "proxy.log")
        # The links of the documentation have the prefix.
        status, page = get(port, "/shop/docs")
        assert (status, b"'/shop/openapi.json'" in page) == (200, True)
        assert get(port, "/shop/openapi.json")[0] == 200
        assert get(port, "/shop/forged", X_Forwarded_For="203.0.113.7, 127.0.0.1")[0] == 404
        assert get(port, "/shop/forged", X_Forwarded_For="unix")[0] == 404
        url = f"ws://127.0.0.1:{port}/shop/ws"
        with connect(url, proxy=None, source_address=(CLIENT, 0)) as websocket:
            websocket.send("hello")
            assert websocket.recv(DEADLINE) == "Message received: hello"
    assert not (directory / "socket").exists()
    records = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    requests = [record for record in records if "client" in record]
    assert {record["client"] for record in requests} == {CLIENT}
    assert {"/shop/forged", "/shop/ws"} <= {record["path"] for record in requests}
