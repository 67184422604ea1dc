"""Reads the claims of a token, whatever their shape."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from app.auth.tokens import InvalidToken

MAX_DEPTH = 30


def names_audience(value: object, audience: str) -> bool:
    """Tell whether a claim is `audience` or a list that contains it."""
    return value == audience or (isinstance(value, list) and audience in value)


def is_id_token(claims: Mapping[str, Any]) -> bool:
    """Tell whether a token is for the client that logs a user in, not for an API.

    Source: OpenID Connect Core, sections 2 and 3.3.2.11; Keycloak and Cognito say it in a claim.
    """
    if claims.get("typ") == "Bearer":
        # An access token of Keycloak, which before version 25 could have a nonce.
        return False
    return (
        claims.get("typ") == "ID"
        or claims.get("token_use") == "id"
        or not claims.keys().isdisjoint(("nonce", "at_hash", "c_hash"))
    )


def read_scopes(claims: Mapping[str, Any], names: Iterable[str]) -> tuple[str, ...]:
    """Return the scopes in the claims of these names, each once.

    A name may be a path, such as `realm_access.roles`. A claim is a string with spaces between the
    scopes, or a list of strings. Any other shape counts as no scope.
    """
    scopes: list[str] = []
    for name in names:
        value = _find(claims, name)
        if isinstance(value, str):
            scopes += value.split()
        elif isinstance(value, list) and all(isinstance(scope, str) for scope in value):
            scopes += value
    return tuple(dict.fromkeys(scopes))


def freeze(value: Any, depth: int = 0) -> Any:
    """Return a copy of a JSON value that cannot be changed.

    Raises InvalidToken for what no response or database can hold: half of a surrogate pair, and
    more than 30 levels.
    """
    if depth > MAX_DEPTH:
        raise InvalidToken("nested too deeply")
    if isinstance(value, dict):
        return MappingProxyType(
            {freeze(name): freeze(item, depth + 1) for name, item in value.items()}
        )
    if isinstance(value, list):
        return tuple(freeze(item, depth + 1) for item in value)
    if isinstance(value, str) and not value.isprintable():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise InvalidToken("has text that is not Unicode") from None
    return value


def _find(claims: Mapping[str, Any], path: str) -> object:
    # The names of claims may contain dots: https://example.com/roles.
    if path in claims:
        return claims[path]
    value: object = claims
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value
