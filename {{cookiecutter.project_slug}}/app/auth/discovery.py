"""Finds the keys of an issuer by its metadata."""

from typing import Any
from urllib.parse import urlsplit

from app.auth.fetch import FetchError, fetch, is_url


def metadata_urls(issuer: str) -> list[str]:
    """Return where the metadata of an issuer may be, the most usual place first.

    Source: OpenID Connect Discovery, section 4; RFC 8414, section 3.1
    """
    parts = urlsplit(issuer)
    path = parts.path.rstrip("/")
    origin = f"{parts.scheme}://{parts.netloc}"
    return [
        f"{origin}{path}/.well-known/openid-configuration",
        f"{origin}/.well-known/oauth-authorization-server{path}",
    ]


async def fetch_keys(issuer: str) -> dict[str, Any]:
    """Return the JWK set of `issuer`. Raises FetchError."""
    return await fetch(await discover_keys_url(issuer))


async def discover_keys_url(issuer: str) -> str:
    """Return the URL of the JWK set of `issuer`. Raises FetchError."""
    problems = []
    for url in metadata_urls(issuer):
        try:
            metadata = await fetch(url)
        except FetchError as error:
            problems.append(str(error))
            continue
        # Otherwise one tenant of a provider could present its keys as those of another.
        if metadata.get("issuer") != issuer:
            stated = repr(metadata.get("issuer"))[:200]
            raise FetchError(f"{url} is of issuer {stated}, which JWT_ISSUER must equal")
        keys_url = metadata.get("jwks_uri")
        if not is_url(keys_url, allow_http=issuer.startswith("http:")):
            raise FetchError(f"{url} has no jwks_uri with https")
        return str(keys_url)
    raise FetchError("; ".join(problems))
