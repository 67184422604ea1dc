"""The settings of the application, as a dependency of routes."""

from typing import Annotated

from fastapi import Depends
from fastapi.requests import HTTPConnection

from app.config import Settings


async def get_app_settings(connection: HTTPConnection) -> Settings:
    """Return the settings that the application was created with, for HTTP and WebSocket routes.

    `app.config.get_settings` reads the environment and `.env` instead, so routes that call it do
    not see the settings of a test.
    """
    settings: Settings = connection.app.state.settings
    return settings


AppSettings = Annotated[Settings, Depends(get_app_settings)]
