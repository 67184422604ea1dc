"""nginx and Apache as reverse proxies in front of a service, with the settings that people use."""

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from tests.support.redis_server import free_port, unavailable
from tests.support.service import Service

DEADLINE = 10
MODULES = Path("/usr/lib/apache2/modules")

NGINX = """
daemon off;
master_process off;
pid {directory}/nginx.pid;
error_log {directory}/nginx.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {directory};
    proxy_temp_path {directory};
    fastcgi_temp_path {directory};
    uwsgi_temp_path {directory};
    scgi_temp_path {directory};
    map $http_upgrade $connection_upgrade {{ default upgrade; "" ""; }}
    server {{
        listen 127.0.0.1:{port};
        client_max_body_size 0;
        proxy_http_version 1.1;
        proxy_request_buffering off;
        proxy_set_header Host $http_host;
        proxy_set_header Upgrade $http_upgrade;
        proxy_set_header Connection $connection_upgrade;
        location / {{ proxy_pass http://{upstream}; }}
        location /prefix/ {{ proxy_pass http://{upstream}/; }}
    }}
}}
"""

APACHE = """
ServerRoot {directory}
DefaultRuntimeDir {directory}
ServerName localhost
Listen 127.0.0.1:{port}
PidFile {directory}/apache.pid
ErrorLog {directory}/apache.log
User www-data
Group www-data
LoadModule mpm_event_module {modules}/mod_mpm_event.so
LoadModule authz_core_module {modules}/mod_authz_core.so
LoadModule proxy_module {modules}/mod_proxy.so
LoadModule proxy_http_module {modules}/mod_proxy_http.so
ProxyPreserveHost On
ProxyPass / http://{upstream}/
"""


@contextmanager
def nginx(service: Service, directory: Path) -> Iterator[Service]:
    """Serve behind nginx. Below `/prefix`, it forwards requests without the prefix."""
    with _proxy("nginx", NGINX, ["-c"], service, directory) as proxy:
        yield proxy


@contextmanager
def apache(service: Service, directory: Path) -> Iterator[Service]:
    """Serve behind Apache."""
    with _proxy("apache2", APACHE, ["-DFOREGROUND", "-f"], service, directory) as proxy:
        yield proxy


@contextmanager
def _proxy(
    name: str, template: str, options: list[str], service: Service, directory: Path
) -> Iterator[Service]:
    program = shutil.which(name, path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
    if program is None:
        unavailable(f"{name} is not installed")
    assert program
    port, upstream = free_port(), urlsplit(service.address).netloc
    configuration = directory / f"{name}.conf"
    configuration.write_text(
        template.format(directory=directory, port=port, upstream=upstream, modules=MODULES),
        encoding="utf-8",
    )
    with (directory / f"{name}.out").open("wb") as output:
        process = subprocess.Popen(
            [program, *options, configuration], stdout=output, stderr=subprocess.STDOUT
        )
    try:
        _wait_until_open(port, process)
        yield Service(f"http://127.0.0.1:{port}")
    finally:
        process.terminate()
        process.wait(DEADLINE)


def _wait_until_open(port: int, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + DEADLINE
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            time.sleep(0.02)
    raise AssertionError("the proxy does not serve")
