"""A PgBouncer of a test's own, in transaction mode before the PostgreSQL of the tests."""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from tests.support.postgresql import SERVER, responds
from tests.support.redis_server import DEADLINE, free_port, unavailable

# As few connections to the server as make requests share them at once.
CONNECTIONS = 3


@contextmanager
def pgbouncer() -> Iterator[str]:
    """Run it, and yield the URL that stands for the one of the server."""
    # Debian installs it in a directory that is only on the path of root.
    program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        unavailable("pgbouncer is not installed")
    server = urlsplit(SERVER)
    port = free_port()
    with tempfile.TemporaryDirectory() as directory:
        configuration = Path(directory) / "pgbouncer.ini"
        configuration.write_text(
            f"""
[databases]
* = host={server.hostname} port={server.port or 5432} user={server.username}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {CONNECTIONS}
max_client_conn = 200
"""
        )
        # It refuses to run as root.
        os.chmod(directory, 0o755)
        user = "nobody" if os.geteuid() == 0 else None
        with (Path(directory) / "log").open("wb") as log:
            process = subprocess.Popen(
                [str(program), configuration], stdout=log, stderr=log, user=user
            )
        try:
            url = server._replace(netloc=f"{server.username}@127.0.0.1:{port}").geturl()
            deadline = time.monotonic() + DEADLINE
            while not responds(url):
                assert process.poll() is None, (Path(directory) / "log").read_text()
                assert time.monotonic() < deadline, "pgbouncer does not start"
                time.sleep(0.02)
            yield url
        finally:
            process.kill()
            process.wait()
