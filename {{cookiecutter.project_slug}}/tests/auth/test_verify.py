import pytest
from pydantic import ValidationError

from app.auth.jwks import JWKSKeys
from app.auth.tokens import SecretKeys
from app.auth.verify import JWTSettings, create_verifier

SECRET = "x" * 32
JWKS_URL = "https://id.example.com/jwks.json"
GOOD = {"jwt_issuer": "https://id.example.com", "jwt_audience": "https://api.example.com"}


@pytest.mark.parametrize(
    ("values", "keys", "algorithm", "types"),
    [
        ({"jwt_secret_key": SECRET}, SecretKeys, "HS256", {"jwt", "at+jwt"}),
        ({"jwt_jwks_url": JWKS_URL, "jwt_type": "at+JWT"}, JWKSKeys, "RS256", {"at+jwt"}),
        (
            {"jwt_jwks_url": JWKS_URL, "jwt_algorithm": "EdDSA"},
            JWKSKeys,
            "EdDSA",
            {"jwt", "at+jwt"},
        ),
        ({"jwt_jwks_url": "http://localhost/"}, JWKSKeys, "RS256", {"jwt", "at+jwt"}),
        ({"jwt_jwks_url": "http://id/", "debug": "1"}, JWKSKeys, "RS256", {"jwt", "at+jwt"}),
    ],
)
def test_tokens_are_signed_by_a_secret_or_by_published_keys(
    values: dict[str, str], keys: type, algorithm: str, types: set[str]
) -> None:
    verifier = create_verifier(JWTSettings.model_validate(GOOD | values))
    assert isinstance(verifier.keys, keys)
    assert verifier.algorithm == algorithm
    assert verifier.types == types


@pytest.mark.parametrize(
    ("values", "variable", "message"),
    [
        ({}, "jwt_jwks_url", "or JWT_SECRET_KEY"),
        (
            {"jwt_secret_key": SECRET, "jwt_jwks_url": JWKS_URL},
            "jwt_jwks_url",
            "unset JWT_SECRET_KEY",
        ),
        ({"jwt_secret_key": "short"}, "jwt_secret_key", "32 bytes"),
        ({"jwt_jwks_url": "http://id.example.com/"}, "jwt_jwks_url", "must be https"),
        ({"jwt_jwks_url": "file:///etc/passwd"}, "jwt_jwks_url", "is a URL"),
        ({"jwt_jwks_url": "https:///jwks"}, "jwt_jwks_url", "is a URL"),
        ({"jwt_secret_key": SECRET, "jwt_algorithm": "RS256"}, "jwt_algorithm", "set JWT_JWKS_URL"),
        ({"jwt_jwks_url": JWKS_URL, "jwt_algorithm": "HS256"}, "jwt_algorithm", "shared secret"),
        ({"jwt_jwks_url": JWKS_URL, "jwt_algorithm": "none"}, "jwt_algorithm", "Input should be"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(
    values: dict[str, str], variable: str, message: str
) -> None:
    with pytest.raises(ValidationError, match=message) as refusal:
        JWTSettings.model_validate(GOOD | values)
    assert [error["loc"] for error in refusal.value.errors()] == [(variable,)]
