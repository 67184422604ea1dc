"""Access tokens: which ones are accepted, and the user that a token identifies."""

import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import jwt
from pydantic import Field, SecretStr, ValidationInfo, field_validator
from starlette.authentication import BaseUser

from app.core.settings import PLACEHOLDER, CoreSettings, SecretList, is_weak

REMEDY = 'make one with python -c "import secrets; print(secrets.token_hex(32))"'


class TokenSettings(CoreSettings):
    """Which access tokens are accepted.

    `JWT_SECRET_KEY`: the secret that signs tokens, 32 bytes or more. While `DEBUG` is on, the
    placeholder of .env.example is replaced by a random secret at each start.
    `JWT_PREVIOUS_SECRET_KEYS` (none): replaced secrets, until the tokens they signed have expired.
    `JWT_ISSUER` (required): the `iss` of the tokens.
    `JWT_AUDIENCE` (required): a value that their `aud` must contain.
    `JWT_LEEWAY` (10): how many seconds the clocks of issuer and service may differ.
    """

    jwt_secret_key: SecretStr = SecretStr("")
    jwt_previous_secret_keys: SecretList = []
    jwt_issuer: str = Field(default="", validate_default=True)
    jwt_audience: str = Field(default="", validate_default=True)
    jwt_leeway: int = Field(default=10, ge=0, le=300)

    @field_validator("jwt_secret_key")
    @classmethod
    def _check_jwt_secret_key(cls, secret: SecretStr, info: ValidationInfo) -> SecretStr:
        if secret.get_secret_value() == PLACEHOLDER:
            if not info.data.get("debug"):
                raise ValueError(f"is still the placeholder of .env.example; {REMEDY}")
            # The placeholder is public, and others may be able to connect while DEBUG is on.
            return SecretStr(secrets.token_hex(32))
        if secret:
            _check_secret(secret)
        return secret

    @field_validator("jwt_previous_secret_keys")
    @classmethod
    def _check_jwt_previous_secret_keys(cls, keys: list[SecretStr]) -> list[SecretStr]:
        for key in keys:
            _check_secret(key)
        return keys

    @field_validator("jwt_issuer")
    @classmethod
    def _check_jwt_issuer(cls, value: str) -> str:
        if not value:
            raise ValueError("set it to the iss of the tokens, such as https://id.example.com")
        return value

    @field_validator("jwt_audience")
    @classmethod
    def _check_jwt_audience(cls, value: str) -> str:
        if not value:
            raise ValueError(
                "set it to what the aud of the tokens names, such as https://api.example.com"
            )
        return value

    def scope_hint(self) -> str:
        """Return what the log adds if a token lacks a scope."""
        return ""

    def risks(self) -> Iterator[str]:
        for name in ("jwt_issuer", "jwt_audience"):
            if "//localhost" in getattr(self, name):
                yield f"{name.upper()}: is the one of development: set the one of production"
        yield from super().risks()


class InvalidToken(Exception):
    """A token is not accepted. The text is for the log, and quotes nothing of the token."""


@dataclass(frozen=True, eq=False)
class TokenUser(BaseUser):
    """The user that an access token identifies.

    `claims`: what the issuer says in the token. `scopes`: what the token allows. All requests with
    the same token share one object, so it cannot be changed, nor can its claims.
    """

    claims: Mapping[str, Any] = field(repr=False)
    scopes: tuple[str, ...] = ()

    @property
    def is_authenticated(self) -> bool:
        return True

    @property
    def identity(self) -> str:
        """The `sub` of the token, which the issuer never gives to another user."""
        return str(self.claims["sub"])

    @property
    def display_name(self) -> str:
        """A name to show. Users may choose it, so it identifies no user."""
        name = self.claims.get("preferred_username")
        return name if isinstance(name, str) and name else self.identity


def _check_secret(secret: SecretStr) -> None:
    value = secret.get_secret_value().encode()
    if len(value) < 32:
        raise ValueError(f"needs 32 bytes or more; {REMEDY}")
    if is_weak(secret.get_secret_value()):
        raise ValueError(f"can be guessed, because it is a placeholder or repeats itself; {REMEDY}")
    try:
        jwt.get_algorithm_by_name("HS256").prepare_key(value)
    except jwt.InvalidKeyError:
        raise ValueError(f"looks like a public key, which is no secret; {REMEDY}") from None
