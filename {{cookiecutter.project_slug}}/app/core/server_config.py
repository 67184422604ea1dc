"""How uvicorn is set up."""

from typing import Any

from uvicorn import Config

from app.core.server_settings import ServerSettings

# Seconds that requests have to end in when the server stops.
GRACE = 20


class ServerConfig(Config):
    """uvicorn's configuration, with the settings and the log records of this service.

    `options`: those of uvicorn's `Config`.
    """

    def __init__(self, app: Any, settings: ServerSettings, **options: Any) -> None:
        super().__init__(
            app,
            forwarded_allow_ips=settings.forwarded_allow_ips,
            log_config=None,
            server_header=False,
            timeout_graceful_shutdown=GRACE,
            **options,
        )
        self.request_timeout = settings.request_timeout
