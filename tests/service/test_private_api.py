"""What `python -m app.serve` builds on is no public API of uvicorn: this fails when it changes."""

import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

PROGRAM = """
import hashlib, inspect
from uvicorn.config import Config
from uvicorn.protocols.http import flow_control, httptools_impl
from uvicorn.protocols.websockets import websockets_sansio_impl
from uvicorn.server import Server
from uvicorn.supervisors.multiprocess import Multiprocess

for part in (
    Config.__init__, Config.load, Config.bind_socket, Server, Multiprocess,
    flow_control, httptools_impl, websockets_sansio_impl,
):
    digest = hashlib.sha256(inspect.getsource(part).encode()).hexdigest()[:16]
    print(getattr(part, "__qualname__", part.__name__), digest)
"""
# After a change, read what is new against app/serve.py, app/core/http_protocol.py and
# app/core/websocket_protocol.py, run tests/service/test_attacks_on_serving.py, and only then write
# down what the program prints.
KNOWN = """\
Config.__init__ 98e927ea97a70725
Config.load 92b7159dce105a9c
Config.bind_socket 97f8fea4957ccbfe
Server 06e799f7c58f8be6
Multiprocess ea4650ac0ee7c09c
uvicorn.protocols.http.flow_control d39d16560df512f3
uvicorn.protocols.http.httptools_impl 1d4e1c579df41684
uvicorn.protocols.websockets.websockets_sansio_impl 8b32a97a1608788b
"""


def test_uvicorn_is_as_it_was_read(shared: Path) -> None:
    command = [str(shared / ".venv/bin/python"), "-c", PROGRAM]
    result = subprocess.run(command, check=True, capture_output=True, text=True)
    assert result.stdout == KNOWN
