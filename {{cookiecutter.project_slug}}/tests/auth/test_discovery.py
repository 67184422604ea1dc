import asyncio
from typing import Any

import pytest

from app.auth import discovery
from app.auth.discovery import discover_keys_url, fetch_keys, metadata_urls
from app.auth.fetch import FetchError

ISSUER = "https://id.example.com/tenant"
OPENID, OAUTH = metadata_urls(ISSUER)
KEYS = "https://keys.example.com/jwks"


@pytest.mark.parametrize(
    ("issuer", "urls"),
    [
        (
            "https://id.example.com",
            [
                "https://id.example.com/.well-known/openid-configuration",
                "https://id.example.com/.well-known/oauth-authorization-server",
            ],
        ),
        (
            "https://id.example.com/",
            [
                "https://id.example.com/.well-known/openid-configuration",
                "https://id.example.com/.well-known/oauth-authorization-server",
            ],
        ),
        (
            "https://id.example.com:8443/realms/a/",
            [
                "https://id.example.com:8443/realms/a/.well-known/openid-configuration",
                "https://id.example.com:8443/.well-known/oauth-authorization-server/realms/a",
            ],
        ),
    ],
)
def test_metadata_has_its_places(issuer: str, urls: list[str]) -> None:
    assert metadata_urls(issuer) == urls


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What there is at which URL."""
    documents: dict[str, Any] = {}

    async def fetch(url: str) -> dict[str, Any]:
        if url not in documents:
            raise FetchError(f"{url} responded with 404")
        document: dict[str, Any] = documents[url]
        return document

    monkeypatch.setattr(discovery, "fetch", fetch)
    return documents


@pytest.mark.parametrize("url", [OPENID, OAUTH])
def test_the_keys_are_where_the_metadata_says(url: str, published: dict[str, Any]) -> None:
    published[url] = {"issuer": ISSUER, "jwks_uri": KEYS}
    published[KEYS] = {"keys": []}
    assert asyncio.run(fetch_keys(ISSUER)) == {"keys": []}


def test_without_metadata_the_log_says_where_it_should_be(published: dict[str, Any]) -> None:
    with pytest.raises(FetchError) as refusal:
        asyncio.run(discover_keys_url(ISSUER))
    assert str(refusal.value) == f"{OPENID} responded with 404; {OAUTH} responded with 404"


@pytest.mark.parametrize(
    "issuer",
    [f"{ISSUER}/", "https://id.example.com", "https://evil.example", "", None, [ISSUER], {}],
)
def test_metadata_of_another_issuer_is_rejected(issuer: object, published: dict[str, Any]) -> None:
    published[OPENID] = {"issuer": issuer, "jwks_uri": KEYS}
    # Even if the other path has the right one, because this may be an attack.
    published[OAUTH] = {"issuer": ISSUER, "jwks_uri": KEYS}
    with pytest.raises(FetchError, match="JWT_ISSUER must equal"):
        asyncio.run(discover_keys_url(ISSUER))


def test_a_long_issuer_is_not_logged_whole(published: dict[str, Any]) -> None:
    published[OPENID] = {"issuer": "x\n" * 100_000}
    with pytest.raises(FetchError) as refusal:
        asyncio.run(discover_keys_url(ISSUER))
    assert len(str(refusal.value)) < 400
    assert str(refusal.value).isprintable()


@pytest.mark.parametrize(
    "url", [None, "", 1, [KEYS], "http://keys.example.com/", "http://localhost/", "file:///keys"]
)
def test_keys_without_https_are_rejected(url: object, published: dict[str, Any]) -> None:
    published[OPENID] = {"issuer": ISSUER, "jwks_uri": url}
    with pytest.raises(FetchError, match="no jwks_uri with https"):
        asyncio.run(discover_keys_url(ISSUER))


def test_an_issuer_of_development_has_its_keys_at_http(published: dict[str, Any]) -> None:
    issuer = "http://localhost:9000"
    keys = f"{issuer}/jwks"
    published[f"{issuer}/.well-known/openid-configuration"] = {"issuer": issuer, "jwks_uri": keys}
    assert asyncio.run(discover_keys_url(issuer)) == keys
