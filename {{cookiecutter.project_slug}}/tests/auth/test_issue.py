import asyncio
import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import jwt
import pytest
from pydantic import ValidationError

from app.auth.issue import JWTSettings, create_verifier, issue_token
from app.auth.models import User
from app.auth.tokens import InvalidToken, TokenUser
from app.config import Settings

OTHER = "another-secret-of-the-tests-32-by"
LOGIN = uuid4()
ACCOUNT = User(id=uuid4(), username="ada")


def verify(settings: JWTSettings, token: str) -> TokenUser:
    return asyncio.run(create_verifier(settings).verify(token.encode()))


def test_a_token_has_all_that_an_access_token_needs(
    make_settings: Callable[..., Settings],
) -> None:
    settings = make_settings()
    token = issue_token(settings, ACCOUNT, ["a", "b"], LOGIN)
    assert jwt.get_unverified_header(token)["typ"] == "at+jwt"
    claims = jwt.decode(token, options={"verify_signature": False})
    assert claims.keys() == {
        *(
            "iss",
            "exp",
            "aud",
            "sub",
            "client_id",
            "iat",
            "jti",
            "sid",
            "scope",
            "preferred_username",
        )
    }
    assert claims["exp"] - claims["iat"] == 900
    assert claims["sid"] == str(LOGIN)
    user = verify(settings, token)
    assert user.identity == str(ACCOUNT.id)
    assert user.display_name == "ada"
    assert user.scopes == ("a", "b")
    assert (
        user.claims["jti"]
        != verify(settings, issue_token(settings, ACCOUNT, [], LOGIN)).claims["jti"]
    )


def test_a_secret_is_replaced_without_logging_anybody_out(
    make_settings: Callable[..., Settings],
) -> None:
    before = make_settings()
    old = issue_token(before, ACCOUNT, [], LOGIN)
    secrets = [before.jwt_secret_key.get_secret_value()]
    after = make_settings(jwt_secret_key=OTHER, jwt_previous_secret_keys=secrets)
    new = issue_token(after, ACCOUNT, [], LOGIN)
    assert verify(after, old).identity == verify(after, new).identity
    with pytest.raises(InvalidToken):
        verify(before, new)
    with pytest.raises(InvalidToken):
        verify(make_settings(jwt_secret_key=OTHER), old)


def test_the_name_of_a_key_is_not_enough(make_settings: Callable[..., Settings]) -> None:
    settings = make_settings(jwt_previous_secret_keys=[OTHER])
    kid = jwt.get_unverified_header(issue_token(settings, ACCOUNT, [], LOGIN))["kid"]
    claims = verify(settings, issue_token(settings, ACCOUNT, [], LOGIN)).claims
    token = jwt.encode(dict(claims), OTHER, headers={"typ": "at+jwt", "kid": kid})
    with pytest.raises(InvalidToken, match="no key of the issuer"):
        verify(settings, token)


def test_only_access_tokens_are_accepted(make_settings: Callable[..., Settings]) -> None:
    settings = make_settings()
    claims = dict(verify(settings, issue_token(settings, ACCOUNT, [], LOGIN)).claims)
    secret = settings.jwt_secret_key.get_secret_value()
    with pytest.raises(InvalidToken, match="of another type"):
        verify(settings, jwt.encode(claims, secret))


def test_tokens_live_as_long_as_the_settings_say(make_settings: Callable[..., Settings]) -> None:
    settings = make_settings(jwt_access_lifetime=60)
    assert (
        verify(settings, issue_token(settings, ACCOUNT, [], LOGIN)).claims["exp"]
        <= time.time() + 60
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"jwt_secret_key": ""}, "set it to the secret"),
        ({"jwt_access_lifetime": 901}, "less than or equal to 900"),
        ({"jwt_refresh_grace": 61}, "less than or equal to 60"),
        ({"login_limit": "many"}, "100/minute"),
        ({"login_limit_address": "0/minute"}, "100/minute"),
        ({"argon2_memory_cost": 1024}, "greater than or equal to 19456"),
    ],
)
def test_an_unsafe_setting_is_rejected(
    changes: dict[str, Any], message: str, make_settings: Callable[..., Settings]
) -> None:
    with pytest.raises(ValidationError, match=message) as refusal:
        make_settings(**changes)
    assert [error["loc"] for error in refusal.value.errors()] == [tuple(changes)]


@pytest.mark.parametrize(
    ("time_cost", "memory_cost", "is_weak"),
    [
        (1, 19_456, True),
        (1, 65_536, True),
        (3, 19_456, True),
        (3, 65_536, False),
        (1, 2**21, False),
    ],
)
def test_cheap_hashes_are_a_risk(
    time_cost: int, memory_cost: int, is_weak: bool, make_settings: Callable[..., Settings]
) -> None:
    settings = make_settings(argon2_time_cost=time_cost, argon2_memory_cost=memory_cost)
    line = (
        "ARGON2_TIME_COST, ARGON2_MEMORY_COST: make guessing passwords cheap; raise them, such as"
        " to 3 and 65536"
    )
    assert (line in settings.risks()) is is_weak
