"""Access tokens that an identity provider issues."""

import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, ValidationInfo, field_validator

from app.auth.discovery import fetch_keys
from app.auth.fetch import fetch, is_url
from app.auth.jwk import ALGORITHMS
from app.auth.jwks import JWKSKeys
from app.auth.keys import Keys
from app.auth.secret_keys import ALGORITHM, SecretKeys
from app.auth.tokens import TokenSettings
from app.auth.verifier import Verifier
from app.core.settings import StringList

# Many providers issue access tokens without a type of their own.
TYPES = ["jwt", "at+jwt"]

LOCAL_HOSTS = ["localhost", "127.0.0.1", "::1"]

# That of .env.example.
PLACEHOLDER_ISSUER = "http://localhost:9000"

logger = logging.getLogger(__name__)


class JWTSettings(TokenSettings):
    """Which tokens of an identity provider are accepted.

    `JWT_ISSUER` and `JWT_AUDIENCE` are enough for a provider that publishes its metadata.
    `JWT_AUDIENCE_CLAIM` (aud): the claim that must contain `JWT_AUDIENCE`, such as `client_id`.
    `JWT_SCOPE_CLAIMS` (scope, scp): the claims that hold scopes, or paths to them, such as
    `realm_access.roles`.
    `JWT_ACCEPT_ID_TOKENS` (false): accept ID tokens as well, which are for clients, not for APIs.
    `JWT_JWKS_URL`: the URL of the provider's keys, if it publishes no metadata.
    `JWT_SECRET_KEY`: a secret shared with the provider, if it does not publish keys.
    `JWT_ALGORITHM`: the only algorithm to accept. Otherwise HS256 with a secret, and with published
    keys that of each key.
    `JWT_TYPE`: what `typ` must be, such as `at+jwt` for a provider that follows RFC 9068.
    """

    jwt_audience_claim: str = Field(default="aud", min_length=1)
    jwt_scope_claims: StringList = ["scope", "scp"]
    jwt_accept_id_tokens: bool = False
    jwt_jwks_url: str = Field(default="", validate_default=True)
    # fmt: off
    jwt_algorithm: Literal[
        "", "HS256", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519"
    ] = Field(default="", validate_default=True)
    # fmt: on
    jwt_type: str = ""

    @field_validator("jwt_jwks_url")
    @classmethod
    def _check_jwt_jwks_url(cls, url: str, info: ValidationInfo) -> str:
        if info.data.get("jwt_secret_key"):
            if url:
                raise ValueError("unset this or JWT_SECRET_KEY: tokens are signed by one of them")
            return url
        if "jwt_secret_key" not in info.data or "jwt_issuer" not in info.data:
            return url  # what is wrong with these comes first
        if url and not _is_safe(url, info):
            raise ValueError("must be https, such as https://id.example.com/jwks.json")
        if not url and not _is_safe(info.data["jwt_issuer"], info):
            raise ValueError(
                "set it to the URL of the provider's keys, or JWT_ISSUER to an https URL at which"
                " its metadata is found, or JWT_SECRET_KEY to a secret shared with it"
            )
        return url

    @field_validator("jwt_algorithm")
    @classmethod
    def _check_jwt_algorithm(cls, algorithm: str, info: ValidationInfo) -> str:
        if info.data.get("jwt_secret_key"):
            if algorithm not in ("", "HS256"):
                raise ValueError("is for published keys: unset this or JWT_SECRET_KEY")
        elif algorithm == "HS256":
            raise ValueError("is for a shared secret: set JWT_SECRET_KEY or another algorithm")
        return algorithm

    def scope_hint(self) -> str:
        """Return what the log adds if a token lacks a scope."""
        return f"; JWT_SCOPE_CLAIMS names {', '.join(self.jwt_scope_claims)}"


def create_verifier(settings: JWTSettings) -> Verifier:
    """Return what verifies the tokens of the provider."""
    if settings.jwt_secret_key:
        keys: Keys = SecretKeys(settings)
        algorithms = [ALGORITHM]
    else:
        keys = JWKSKeys(_loader(settings), settings.jwt_algorithm)
        # Never HS256, which would take a public key for a secret.
        known = [name for names in ALGORITHMS.values() for name in names]
        algorithms = [settings.jwt_algorithm] if settings.jwt_algorithm else known
    return Verifier(
        settings,
        keys,
        algorithms=algorithms,
        types=[settings.jwt_type.lower()] if settings.jwt_type else TYPES,
        audience_claim=settings.jwt_audience_claim,
        scope_claims=settings.jwt_scope_claims,
        accept_id_tokens=settings.jwt_accept_id_tokens,
        hints={
            "iss": "it must equal JWT_ISSUER",
            settings.jwt_audience_claim: "JWT_AUDIENCE_CLAIM names the claim to look at",
        },
    )


def _loader(settings: JWTSettings) -> Callable[[], Awaitable[dict[str, Any]]]:
    if settings.jwt_jwks_url:
        return partial(fetch, settings.jwt_jwks_url)
    if settings.jwt_issuer == PLACEHOLDER_ISSUER:
        logger.warning(
            "JWT_ISSUER is %s, as in .env.example: set it and JWT_AUDIENCE to those of your"
            " identity provider",
            PLACEHOLDER_ISSUER,
        )
    return partial(fetch_keys, settings.jwt_issuer)


def _is_safe(url: str, info: ValidationInfo) -> bool:
    is_local = is_url(url, allow_http=True) and urlsplit(url).hostname in LOCAL_HOSTS
    return is_url(url, allow_http=is_local or bool(info.data.get("debug")))
