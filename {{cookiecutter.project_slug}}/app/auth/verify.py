"""Tokens that others issue: who that is, and how they sign."""

from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, ValidationInfo, field_validator

from app.auth.jwks import JWKSKeys
from app.auth.tokens import Keys, SecretKeys, TokenSettings, Verifier

# Without a word about it, a token may be an access token; it is none where it says otherwise.
TYPES = ["jwt", "at+jwt"]

LOCAL_HOSTS = ["localhost", "127.0.0.1", "::1"]


class JWTSettings(TokenSettings):
    """How tokens are signed: by a secret shared with the issuer, or by keys that it publishes.

    `JWT_JWKS_URL`: where those keys are; in place of `JWT_SECRET_KEY`.
    `JWT_ALGORITHM`: the one that is believed; else HS256 with a secret, RS256 with keys.
    `JWT_TYPE` (none): what `typ` must be; `at+jwt` where the issuer follows RFC 9068.
    """

    jwt_jwks_url: str = Field(default="", validate_default=True)
    # fmt: off
    jwt_algorithm: Literal[
        "", "HS256", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"
    ] = Field(default="", validate_default=True)
    # fmt: on
    jwt_type: str = ""

    @field_validator("jwt_jwks_url")
    @classmethod
    def _check_jwt_jwks_url(cls, url: str, info: ValidationInfo) -> str:
        secret = info.data.get("jwt_secret_key")
        if not url:
            if secret is not None and not secret:
                raise ValueError(
                    "set it to the keys of the issuer, or JWT_SECRET_KEY to its secret"
                )
            return url
        if secret:
            raise ValueError("is for tokens that no shared secret signs: unset JWT_SECRET_KEY")
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("is a URL: https://id.example.com/.well-known/jwks.json")
        is_private = info.data.get("debug") or parts.hostname in LOCAL_HOSTS
        if parts.scheme == "http" and not is_private:
            raise ValueError("must be https: whoever is on the way could put a key of their own")
        return url

    @field_validator("jwt_algorithm")
    @classmethod
    def _check_jwt_algorithm(cls, algorithm: str, info: ValidationInfo) -> str:
        if info.data.get("jwt_jwks_url"):
            if algorithm == "HS256":
                raise ValueError("HS256 is for a shared secret: name that of the issuer's keys")
            return algorithm or "RS256"
        if algorithm not in ("", "HS256"):
            raise ValueError("is for keys that are published: set JWT_JWKS_URL, or HS256 here")
        return "HS256"


def create_verifier(settings: JWTSettings) -> Verifier:
    """Believe the tokens of the issuer."""
    algorithm = settings.jwt_algorithm
    keys: Keys = (
        JWKSKeys(settings.jwt_jwks_url, algorithm)
        if settings.jwt_jwks_url
        else SecretKeys(settings)
    )
    types = [settings.jwt_type.lower()] if settings.jwt_type else TYPES
    return Verifier(settings, keys, algorithm=algorithm, types=types)
