"""Access tokens: what one must be like to be believed, and whom it stands for."""

import json
import re
import secrets
from base64 import urlsafe_b64decode
from collections.abc import Collection, Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import Any, Protocol

import jwt
from pydantic import Field, SecretStr, ValidationInfo, field_validator
from starlette.authentication import BaseUser

from app.core.settings import PLACEHOLDER, CoreSettings, SecretList

# What RFC 9068, section 2.2, requires, but for `client_id`, which not every issuer has.
CLAIMS = ["exp", "iat", "iss", "aud", "sub", "jti"]

# Four times what an issuer with many claims makes: nobody shall have us decode megabytes.
MAX_LENGTH = 8192

REMEDY = 'make one with python -c "import secrets; print(secrets.token_hex(32))"'

Key = jwt.PyJWK | bytes
_is_jws = re.compile(rb"[\w-]+\.[\w-]+\.[\w-]+", re.ASCII).fullmatch


class TokenSettings(CoreSettings):
    """Which tokens are believed.

    `JWT_SECRET_KEY`: the secret that signs them, of 32 bytes or more. While `DEBUG` is on, the
    placeholder of .env.example stands for a new one at each start.
    `JWT_PREVIOUS_SECRET_KEYS` (none): secrets that were replaced, until their tokens have expired.
    `JWT_ISSUER`, `JWT_AUDIENCE`: what their `iss` must be, and their `aud` name.
    `JWT_LEEWAY` (10): by how many seconds the clocks may differ.
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
                raise ValueError(f"still has the placeholder of .env.example; {REMEDY}")
            # Not the placeholder itself, which everybody knows, should DEBUG be on where others are.
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
            raise ValueError("name who issues the tokens, as in their iss: https://id.example.com")
        return value

    @field_validator("jwt_audience")
    @classmethod
    def _check_jwt_audience(cls, value: str) -> str:
        if not value:
            raise ValueError("name this service, as in the aud of tokens: https://api.example.com")
        return value

    def risks(self) -> Iterator[str]:
        for name in ("jwt_issuer", "jwt_audience"):
            if "//localhost" in getattr(self, name):
                yield f"{name.upper()}: is that of development: name the one of production"
        yield from super().risks()


class InvalidToken(Exception):
    """No reason to believe the caller. The text is for the log, and holds nothing of the token."""


class KeysUnavailable(Exception):
    """Nobody knows yet with which keys tokens are signed."""


class TokenUser(BaseUser):
    """Whom a token stands for. `claims`: all that its issuer says; `scopes`: what it allows."""

    def __init__(self, claims: Mapping[str, Any]) -> None:
        self.claims = claims
        scopes = claims.get("scope", claims.get("scp", ""))
        self.scopes: list[str] = scopes.split() if isinstance(scopes, str) else list(scopes)

    @property
    def is_authenticated(self) -> bool:
        return True

    @property
    def identity(self) -> str:
        return str(self.claims["sub"])

    @property
    def display_name(self) -> str:
        return str(self.claims.get("preferred_username", self.identity))


class Keys(Protocol):
    """Knows the keys of the issuer."""

    async def find(self, kid: str | None) -> Sequence[Key]:
        """Return the keys that may have signed a token with this `kid`."""


class SecretKeys:
    """The secret of today, and those that it replaced. Each has a name of ours."""

    def __init__(self, settings: TokenSettings) -> None:
        secrets = [settings.jwt_secret_key, *settings.jwt_previous_secret_keys]
        keys = [secret.get_secret_value().encode() for secret in secrets]
        self.keys = {key_id(key): key for key in keys}

    async def find(self, kid: str | None) -> Sequence[Key]:
        """Return the one of this name; all of them where an issuer has names of its own."""
        return [self.keys[kid]] if kid in self.keys else list(self.keys.values())


class Verifier:
    """Believes a token that one of `keys` signed by `algorithm`, for this service, lately.

    `types`: what `typ` in its header may be, in lower case and without `application/`.
    Source: RFC 7519, section 7.2; RFC 8725, section 3; RFC 9068, section 4
    """

    def __init__(
        self, settings: TokenSettings, keys: Keys, *, algorithm: str, types: Collection[str]
    ) -> None:
        self.keys = keys
        self.algorithm = algorithm
        self.types = frozenset(types)
        self.issuer = settings.jwt_issuer
        self.audience = settings.jwt_audience
        self.leeway = settings.jwt_leeway

    async def verify(self, token: bytes) -> TokenUser:
        """Return whom `token` stands for, or raise InvalidToken."""
        if len(token) > MAX_LENGTH or not _is_jws(token):
            raise InvalidToken("malformed")
        header = _read_header(token)
        if header.get("alg") != self.algorithm:
            raise InvalidToken("signed by another algorithm")
        if "crit" in header:
            raise InvalidToken("has critical extensions")
        if _type_of(header) not in self.types:
            raise InvalidToken("of another type")
        for key in await self.keys.find(header.get("kid")):
            try:
                return TokenUser(self.decode(token, key))
            except jwt.InvalidSignatureError:
                continue
            except jwt.MissingRequiredClaimError as error:
                raise InvalidToken(f"has no {error.claim}") from None
            except jwt.PyJWTError as error:
                # Not its text, which may quote the token.
                raise InvalidToken(type(error).__name__) from None
        raise InvalidToken("signed by nobody we know")

    def decode(self, token: bytes, key: Key) -> dict[str, Any]:
        claims = jwt.decode(
            token,
            key,
            algorithms=[self.algorithm],
            issuer=self.issuer,
            audience=self.audience,
            leeway=self.leeway,
            options={"require": CLAIMS, "enforce_minimum_key_length": True},
        )
        if not claims["sub"]:
            raise InvalidToken("stands for nobody")
        return claims


def key_id(key: bytes) -> str:
    """Return the name of a secret, from which nobody can tell it."""
    return blake2b(key, digest_size=8, person=b"kid").hexdigest()


def _check_secret(secret: SecretStr) -> None:
    value = secret.get_secret_value().encode()
    if len(value) < 32:
        raise ValueError(f"needs 32 bytes or more; {REMEDY}")
    try:
        jwt.get_algorithm_by_name("HS256").prepare_key(value)
    except jwt.InvalidKeyError:
        raise ValueError(f"looks like a public key, which is no secret; {REMEDY}") from None


def _read_header(token: bytes) -> dict[str, Any]:
    # To choose a key by. What is read here, `jwt.decode` reads once more, and verifies.
    try:
        header = json.loads(urlsafe_b64decode(token.partition(b".")[0] + b"=="))
    except (ValueError, RecursionError):
        header = None
    if not isinstance(header, dict) or not isinstance(header.get("kid", ""), str):
        raise InvalidToken("malformed")
    return header


def _type_of(header: Mapping[str, Any]) -> str:
    return str(header.get("typ", "jwt")).lower().removeprefix("application/")
