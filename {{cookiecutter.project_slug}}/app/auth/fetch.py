"""Fetches the documents that an issuer publishes."""

import json
from functools import cache
from ssl import SSLContext
from typing import Any
from urllib.parse import urlsplit

from anyio import to_thread
from httpx2 import AsyncClient, HTTPError, create_ssl_context

MAX_SIZE = 1_048_576

# With `identity`, the size that is checked is the size that is read. The name is not that of an HTTP
# library, because some firewalls reject these.
HEADERS = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "jwks"}


class FetchError(Exception):
    """A document cannot be used. The text says which one and why."""


async def fetch(url: str) -> dict[str, Any]:
    """Return the JSON object at `url`. Raises FetchError.

    Never follows a redirect, which could lead to another host or to plain http. The caller limits
    the time.
    """
    # In a thread: reading the certificates of the machine takes 20 milliseconds.
    context = await to_thread.run_sync(_ssl_context)
    body = b""
    try:
        async with (
            AsyncClient(verify=context, headers=HEADERS, follow_redirects=False) as client,
            client.stream("GET", url) as response,
        ):
            if response.status_code != 200:
                raise FetchError(f"{url} responded with {response.status_code}")
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > MAX_SIZE:
                    raise FetchError(f"{url} is larger than {MAX_SIZE} bytes")
    except HTTPError as error:
        raise FetchError(f"{url}: {type(error).__name__} {error}") from None
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise FetchError(f"{url} is not a JSON object")
    return document


def is_url(text: object, *, allow_http: bool) -> bool:
    """Tell whether keys may be fetched from here: without TLS, others could insert their own."""
    if not isinstance(text, str) or not text.isascii() or not text.isprintable() or " " in text:
        return False
    try:
        parts = urlsplit(text)
        # Reading the port checks it.
        is_complete = bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    schemes = ("https", "http") if allow_http else ("https",)
    return is_complete and parts.scheme in schemes and not parts.username and not parts.fragment


@cache
def _ssl_context() -> SSLContext:
    return create_ssl_context()
