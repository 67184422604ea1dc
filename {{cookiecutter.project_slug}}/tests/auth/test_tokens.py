from dataclasses import FrozenInstanceError
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from app.auth.tokens import TokenSettings, TokenUser
from app.core.settings import describe

PUBLIC_KEY = """-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEEVs/o5+uQbTjL3chynL4wXgUg2R9
q9UU8I5mEovUf86QZ7kOBIjJwqnzD1omageEHWwHdBO6B+dFabmdT9POxg==
-----END PUBLIC KEY-----
"""


@pytest.mark.parametrize(
    ("claims", "name"),
    [
        ({}, "1"),
        ({"preferred_username": "ada"}, "ada"),
        ({"preferred_username": ""}, "1"),
        ({"preferred_username": ["ada"]}, "1"),
        ({"preferred_username": None}, "1"),
    ],
)
def test_a_user_is_identified_by_the_sub_alone(claims: dict[str, object], name: str) -> None:
    user = TokenUser({"sub": "1", **claims})
    assert user.is_authenticated
    assert user.identity == "1"
    assert user.display_name == name


def test_the_claims_of_a_user_are_not_in_tracebacks() -> None:
    assert "ada@example.com" not in repr(TokenUser({"sub": "1", "email": "ada@example.com"}))


def test_a_user_cannot_be_changed() -> None:
    user: Any = TokenUser({"sub": "1"})
    for name in ("claims", "scopes", "identity", "other"):
        with pytest.raises((FrozenInstanceError, AttributeError)):
            setattr(user, name, ())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"jwt_secret_key": "change-me"}, "placeholder"),
        ({"jwt_secret_key": "x" * 31}, "32 bytes"),
        ({"jwt_secret_key": "change-me-" * 5}, "can be guessed"),
        ({"jwt_secret_key": "a" * 32}, "can be guessed"),
        ({"jwt_previous_secret_keys": "hunter2" * 5}, "can be guessed"),
        ({"jwt_secret_key": PUBLIC_KEY}, "public key"),
        ({"jwt_previous_secret_keys": "short"}, "32 bytes"),
        ({"jwt_issuer": ""}, "set it to the iss"),
        ({"jwt_audience": ""}, "set it to what the aud"),
        ({"jwt_leeway": 301}, "less than or equal to 300"),
    ],
)
def test_an_unsafe_setting_is_rejected(values: dict[str, str], message: str) -> None:
    good = {
        "jwt_secret_key": "secret-of-the-tests-with-32-bytes",
        "jwt_issuer": "issuer",
        "jwt_audience": "audience",
    }
    TokenSettings.model_validate(good)
    with pytest.raises(ValidationError, match=message) as caught:
        TokenSettings.model_validate(good | values)
    [line] = describe(caught.value)
    assert "hunter2" not in line


def test_there_may_be_no_secret_where_others_publish_keys() -> None:
    settings = TokenSettings(jwt_secret_key=SecretStr(""), jwt_issuer="i", jwt_audience="a")
    assert not settings.jwt_secret_key


def test_the_placeholder_becomes_a_random_secret_while_debug_is_on() -> None:
    values = {"debug": True, "jwt_secret_key": "change-me", "jwt_issuer": "i", "jwt_audience": "a"}
    first, second = (
        TokenSettings.model_validate(values).jwt_secret_key.get_secret_value() for _ in range(2)
    )
    assert first != second
    assert len(first) == 64


def test_names_of_development_are_a_risk() -> None:
    names = {"jwt_issuer": "http://localhost:8000", "jwt_audience": "https://api.example.com"}
    assert list(TokenSettings(**names, docs_enabled=False).risks()) == [
        "JWT_ISSUER: is the one of development: set the one of production"
    ]
