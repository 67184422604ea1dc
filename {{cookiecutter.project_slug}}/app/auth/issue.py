"""Access tokens that this service issues."""

from collections.abc import Iterator, Sequence
from time import time
from uuid import UUID, uuid4

import jwt
from pydantic import Field, SecretStr, field_validator

from app.auth.models import User
from app.auth.secret_keys import ALGORITHM, SecretKeys, key_id
from app.auth.tokens import REMEDY, TokenSettings
from app.auth.verifier import Verifier
from app.limits.limit import Limit

TYPE = "at+jwt"

# The time cost, and the memory cost in KiB. Source: RFC 9106, section 4
RECOMMENDED_COSTS = (3, 65_536)


class JWTSettings(TokenSettings):
    """How access tokens are issued, and what a user needs to get one.

    `JWT_ACCESS_LIFETIME` (900): seconds until an access token expires. It cannot be revoked, so
    this is how long a stolen one can be used.
    `JWT_REFRESH_LIFETIME` (2592000): seconds until a user has to log in again.
    `JWT_REFRESH_GRACE` (10): seconds in which a refresh token may be used again, which several tabs
    of a browser do. A later use means that the token was stolen.
    `LOGIN_LIMIT` (10/minute): attempts for one user name from one address; a fifth of it while all
    addresses together exceed it for that name.
    `LOGIN_LIMIT_ADDRESS` (30/minute): attempts to log in and new users from one address.
    `REGISTRATION_ENABLED` (true): let anybody register. Otherwise `POST /users` responds with 403,
    and `python -m app.users create` creates users.
    `ARGON2_TIME_COST` (3): the number of passes of a password hash. A login renews hashes with other
    costs. `ARGON2_MEMORY_COST` (65536): the memory of a password hash, in KiB.
    `ARGON2_PARALLELISM` (4): the number of lanes of a password hash.
    """

    jwt_secret_key: SecretStr = Field(default=SecretStr(""), validate_default=True)
    jwt_access_lifetime: int = Field(default=900, ge=60, le=900)
    jwt_refresh_lifetime: int = Field(default=2_592_000, ge=3600)
    jwt_refresh_grace: int = Field(default=10, ge=0, le=60)
    registration_enabled: bool = True
    login_limit: str = "10/minute"
    login_limit_address: str = "30/minute"
    argon2_time_cost: int = Field(default=3, ge=1)
    # Less memory would not slow down a graphics card.
    argon2_memory_cost: int = Field(default=65_536, ge=19_456)
    argon2_parallelism: int = Field(default=4, ge=1)

    @field_validator("login_limit", "login_limit_address")
    @classmethod
    def _check_login_limits(cls, value: str) -> str:
        Limit.parse(value)
        return value

    @field_validator("jwt_secret_key")
    @classmethod
    def _check_jwt_secret_key_is_set(cls, secret: SecretStr) -> SecretStr:
        if not secret:
            raise ValueError(f"set it to the secret that signs tokens; {REMEDY}")
        return secret

    def risks(self) -> Iterator[str]:
        time_cost, memory_cost = RECOMMENDED_COSTS
        if self.argon2_time_cost * self.argon2_memory_cost < time_cost * memory_cost:
            yield (
                "ARGON2_TIME_COST, ARGON2_MEMORY_COST: make guessing passwords cheap; raise them,"
                f" such as to {time_cost} and {memory_cost}"
            )
        yield from super().risks()


def create_verifier(settings: JWTSettings) -> Verifier:
    """Return what verifies the tokens of this service."""
    return Verifier(settings, SecretKeys(settings), algorithms=[ALGORITHM], types=[TYPE])


def issue_token(settings: JWTSettings, user: User, scopes: Sequence[str], login_id: UUID) -> str:
    """Return an access token of a login that allows `scopes`. Source: RFC 9068, section 2"""
    key = settings.jwt_secret_key.get_secret_value().encode()
    now = int(time())
    claims = {
        "iss": settings.jwt_issuer,
        "aud": settings.jwt_audience,
        # Users log in to this service directly, so it is also the client.
        "client_id": settings.jwt_audience,
        "sub": str(user.id),
        "preferred_username": user.username,
        "scope": " ".join(scopes),
        "iat": now,
        "exp": now + settings.jwt_access_lifetime,
        "jti": uuid4().hex,
        "sid": str(login_id),
    }
    return jwt.encode(claims, key, ALGORITHM, headers={"typ": TYPE, "kid": key_id(key)})
