import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from app.core.unix_socket import bind_unix_socket


@pytest.fixture
def path() -> Iterator[Path]:
    """Where no socket is yet. The path of one has to be short."""
    with TemporaryDirectory() as directory:
        yield Path(directory) / "socket"


def test_only_the_owner_and_the_group_can_connect(path: Path) -> None:
    before = os.umask(0o022)
    try:
        with bind_unix_socket(str(path)):
            assert stat.S_IMODE(path.stat().st_mode) == 0o660
        assert os.umask(0o022) == 0o022
    finally:
        os.umask(before)


def test_a_socket_file_that_was_left_behind_is_replaced(path: Path) -> None:
    bind_unix_socket(str(path)).close()
    with bind_unix_socket(str(path)) as listener, socket.socket(socket.AF_UNIX) as client:
        listener.listen()
        client.connect(str(path))


def test_a_socket_in_use_is_not_taken_away(path: Path) -> None:
    with bind_unix_socket(str(path)) as listener:
        listener.listen()
        with pytest.raises(OSError, match="is in use"):
            bind_unix_socket(str(path))


def test_a_file_is_not_removed(path: Path) -> None:
    path.write_text("mine")
    with pytest.raises(OSError, match="is not a socket"):
        bind_unix_socket(str(path))
    assert path.read_text() == "mine"


def test_a_directory_that_does_not_exist(path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        bind_unix_socket(f"{path}/socket")
