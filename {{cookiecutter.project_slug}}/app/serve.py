"""The production server: `python -m app.serve`.

It is uvicorn with limits that the `uvicorn` command does not have; `docs/security.md` of the
template says what they defend against.
"""

import logging
import signal
import socket
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from uvicorn import Server
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from app.config import Settings, get_settings
from app.core.http_protocol import HTTPProtocol
from app.core.logging import configure_logging
from app.core.server_config import ServerConfig
from app.core.unix_socket import bind_unix_socket

# {%- if cookiecutter.use_websocket +%}
from app.core.websocket_protocol import WebSocketProtocol

# {%- endif +%}

logger = logging.getLogger(__name__)


def parse_arguments() -> Namespace:
    """Return the options of the command line."""
    parser = ArgumentParser(
        prog="python -m app.serve",
        description="Serve in production, with the settings of the environment and of .env.",
        epilog="Ends with 3 when a setting is not usable or the service cannot start.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument("--port", default=8000, type=int, help="0 for any free one (%(default)s)")
    parser.add_argument("--uds", metavar="PATH", help="listen on a Unix socket instead")
    parser.add_argument(
        "--root-path", metavar="PATH", default="", help="prefix that a proxy removes"
    )
    parser.add_argument("--workers", default=1, type=int, help="processes (%(default)s)")
    return parser.parse_args()


def websocket_options(settings: Settings) -> dict[str, Any]:
    """Return what the configuration needs for WebSockets."""
    # {% if cookiecutter.use_websocket %}
    return {
        "ws": WebSocketProtocol,
        "ws_max_size": settings.websocket_max_message_size,
        "ws_per_message_deflate": settings.websocket_compression,
    }
    # {% else %}    return {"ws": "none"}
    # {% endif %}


def bind(config: ServerConfig) -> socket.socket | None:
    """Return the socket to listen on, or None if a single process binds it itself."""
    if config.uds:
        try:
            listener = bind_unix_socket(config.uds)
        except OSError as error:
            logger.error("cannot listen on %s: %s", config.uds, error)
            sys.exit(STARTUP_FAILURE)
        logger.info("Uvicorn running on unix socket %s", config.uds)
        return listener
    return config.bind_socket() if config.workers > 1 else None


def run(config: ServerConfig, listener: socket.socket | None) -> int:
    """Serve until the process is told to stop, and return its exit status."""
    sockets = [listener] if listener else None
    if sockets and config.workers > 1:
        supervisor = Multiprocess(config, sockets)
        supervisor.run()
        # uvicorn itself would end with 0.
        failed = any(process.exitcode == STARTUP_FAILURE for process in supervisor.processes)
        return STARTUP_FAILURE if failed else 0
    # uvicorn sends itself the signal again once it has stopped.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    Server(config).run(sockets)
    return 0


def main() -> int:
    """Run the command, and return its exit status."""
    arguments = parse_arguments()
    settings = get_settings()
    configure_logging(settings)
    options = vars(arguments) | websocket_options(settings)
    config = ServerConfig("app.main:app", settings, http=HTTPProtocol, **options)
    listener = bind(config)
    try:
        return run(config, listener)
    except KeyboardInterrupt:
        return 0
    finally:
        if listener:
            listener.close()
        if config.uds:
            Path(config.uds).unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main())
