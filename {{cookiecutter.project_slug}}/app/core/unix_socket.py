"""Unix sockets to listen on."""

import os
import socket
import stat
from contextlib import suppress

# Read and write for the owner and the group: to connect is to be trusted like a proxy.
MODE = 0o660


def bind_unix_socket(path: str) -> socket.socket:
    """Return a socket that is bound to `path`, with mode 0660.

    A socket file that a server left behind is replaced. Raises OSError when a server still listens
    there, when the path is any other file, or when it cannot be created.
    """
    _remove_stale(path)
    listener = socket.socket(socket.AF_UNIX)
    # Before it exists, so that there is no moment at which others can connect.
    umask = os.umask(0o777 & ~MODE)
    try:
        listener.bind(path)
    except OSError:
        listener.close()
        raise
    finally:
        os.umask(umask)
    listener.set_inheritable(True)
    return listener


def _remove_stale(path: str) -> None:
    with suppress(FileNotFoundError):
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            raise FileExistsError(f"{path} is not a socket")
        with socket.socket(socket.AF_UNIX) as client:
            try:
                client.connect(path)
            except ConnectionRefusedError:
                os.unlink(path)
                return
        raise FileExistsError(f"{path} is in use")
