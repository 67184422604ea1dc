"""Answers are compressed for clients that accept it."""

from pydantic import Field
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware

from app.core.settings import CoreSettings


class GZipSettings(CoreSettings):
    """`GZIP_MINIMUM_SIZE` (1000): smaller bodies are sent as they are, in bytes."""

    gzip_minimum_size: int = Field(default=1000, ge=0)


def layer(settings: GZipSettings) -> Middleware:
    """Compress bodies of at least `GZIP_MINIMUM_SIZE` bytes where `Accept-Encoding` has gzip."""
    # Level 9, Starlette's default, takes far more time for a few bytes less.
    return Middleware(GZipMiddleware, minimum_size=settings.gzip_minimum_size, compresslevel=6)
