"""Verifies access tokens."""

import json
import re
from base64 import urlsafe_b64decode
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from time import time
from types import MappingProxyType
from typing import Any

import jwt

from app.auth.claims import freeze, is_id_token, names_audience, read_scopes
from app.auth.keys import Key, Keys
from app.auth.token_cache import TokenCache, VerifiedToken
from app.auth.tokens import InvalidToken, TokenSettings, TokenUser

# What a token of an issuer with many claims takes, such as 200 groups. Longer ones are not decoded.
MAX_LENGTH = 16_384

# In characters. Source: OpenID Connect Core, section 2
MAX_SUB = 255

_is_jws = re.compile(rb"[\w-]+\.[\w-]+\.[\w-]+", re.ASCII).fullmatch


class Verifier:
    """Verifies that a token was signed by one of `keys` for this service and has not expired.

    `algorithms`: what `alg` in its header may be. `types`: what `typ` may be, in lower case and
    without `application/`. `audience_claim`: the claim that names the audience. `scope_claims`:
    the claims that hold scopes. `hints`: what the log adds if a claim is absent, by its name.

    A verified token is remembered. Each further request with it asks for its key again, so that a
    token ends with its key.
    Source: RFC 7519, section 7.2; RFC 8725, section 3; RFC 9068, section 4
    """

    def __init__(
        self,
        settings: TokenSettings,
        keys: Keys,
        *,
        algorithms: Collection[str],
        types: Collection[str],
        audience_claim: str = "aud",
        scope_claims: Sequence[str] = ("scope",),
        accept_id_tokens: bool = False,
        hints: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.keys = keys
        self.algorithms = frozenset(algorithms)
        self.types = frozenset(types)
        self.issuer = settings.jwt_issuer
        self.audience = settings.jwt_audience
        self.leeway = settings.jwt_leeway
        self.audience_claim = audience_claim
        self.scope_claims = scope_claims
        self.accept_id_tokens = accept_id_tokens
        self.hints = hints
        self.required = list(dict.fromkeys(["exp", "iss", "sub", audience_claim]))
        self.cache = TokenCache()

    async def verify(self, token: bytes) -> TokenUser:
        """Return the user of `token`. Raises InvalidToken or KeysUnavailable."""
        if len(token) > MAX_LENGTH:
            raise InvalidToken("too long")
        if known := self.cache.get(token):
            is_valid = known.key in await self.keys.find(known.kid, known.algorithm)
            if is_valid and time() < known.expires:
                return known.user
            self.cache.discard(token)
        verified = await self.verify_signature(token)
        self.cache.add(token, verified)
        return verified.user

    async def verify_signature(self, token: bytes) -> VerifiedToken:
        header = _read_header(token)
        kid, algorithm = header.get("kid"), header.get("alg")
        if not isinstance(algorithm, str) or algorithm not in self.algorithms:
            raise InvalidToken("signed by another algorithm")
        if "crit" in header:
            raise InvalidToken("has critical extensions")
        if _type_of(header) not in self.types:
            raise InvalidToken("of another type")
        keys = await self.keys.find(kid, algorithm)
        if not keys:
            raise InvalidToken(f"no key of the issuer has its kid and is for {algorithm}")
        for key in keys:
            with suppress(jwt.InvalidSignatureError):
                claims = self.decode(token, key, algorithm)
                self.check(claims)
                user = TokenUser(freeze(claims), read_scopes(claims, self.scope_claims))
                expires = int(claims["exp"]) + self.leeway
                return VerifiedToken(user, kid, algorithm, key, expires)
        raise InvalidToken("signed by no key of the issuer")

    def decode(self, token: bytes, key: Key, algorithm: str) -> dict[str, Any]:
        try:
            claims = jwt.decode(
                token,
                key.material,
                algorithms=[algorithm],
                issuer=self.issuer,
                leeway=self.leeway,
                options={
                    "require": self.required,
                    "verify_aud": False,  # below, because it may be another claim
                    "enforce_minimum_key_length": True,
                },
            )
        except jwt.InvalidSignatureError:
            raise
        except jwt.MissingRequiredClaimError as error:
            hint = self.hints.get(error.claim)
            raise InvalidToken(f"has no {error.claim}" + (f": {hint}" if hint else "")) from None
        except jwt.PyJWTError as error:
            # Not its text, which may quote the token.
            raise InvalidToken(type(error).__name__) from None
        return claims

    def check(self, claims: Mapping[str, Any]) -> None:
        for name in (self.audience_claim, "aud"):
            # A token that names audiences is for these alone, whatever else it says.
            if claims.get(name) is not None and not names_audience(claims[name], self.audience):
                raise InvalidToken(f"for another audience: its {name} does not name JWT_AUDIENCE")
        # What fits a column of a database and a line of a log.
        if not 0 < len(claims["sub"]) <= MAX_SUB or not claims["sub"].isprintable():
            raise InvalidToken("has a sub that identifies no user")
        # A security event such as a logout. Source: RFC 8417, section 2.2
        if "events" in claims:
            raise InvalidToken("is no access token: it has events")
        if is_id_token(claims) and not self.accept_id_tokens:
            raise InvalidToken("is an ID token, which is for the client that logs a user in")


def _read_header(token: bytes) -> dict[str, Any]:
    # To choose a key. `jwt.decode` reads the header again, and verifies it.
    if not _is_jws(token):
        raise InvalidToken("malformed")
    try:
        header = json.loads(urlsafe_b64decode(token.partition(b".")[0] + b"=="))
    except (ValueError, RecursionError):
        raise InvalidToken("malformed") from None
    if not isinstance(header, dict) or not isinstance(header.get("kid", ""), str):
        raise InvalidToken("malformed")
    return header


def _type_of(header: Mapping[str, Any]) -> str:
    return str(header.get("typ", "jwt")).lower().removeprefix("application/")
