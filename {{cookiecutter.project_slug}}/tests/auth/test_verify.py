import asyncio
import json
from functools import partial
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from pydantic import ValidationError

from app.auth.fetch import fetch
from app.auth.jwks import JWKSKeys
from app.auth.secret_keys import SecretKeys
from app.auth.tokens import InvalidToken, TokenUser
from app.auth.verify import PLACEHOLDER_ISSUER, JWTSettings, create_verifier

SECRET = "secret-of-the-tests-with-32-bytes"
JWKS_URL = "https://id.example.com/jwks.json"
GOOD = {"jwt_issuer": "https://id.example.com", "jwt_audience": "https://api.example.com"}

RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
WEAK_KEY = rsa.generate_private_key(public_exponent=65537, key_size=1024)
EC_KEY = ec.generate_private_key(ec.SECP256R1())
ED_KEY = ed25519.Ed25519PrivateKey.generate()
RSA_JWK = jwt.algorithms.RSAAlgorithm.to_jwk(RSA_KEY.public_key(), as_dict=True) | {"kid": "rsa"}
WEAK_JWK = jwt.algorithms.RSAAlgorithm.to_jwk(WEAK_KEY.public_key(), as_dict=True) | {"kid": "weak"}
EC_JWK = jwt.algorithms.ECAlgorithm.to_jwk(EC_KEY.public_key(), as_dict=True) | {"kid": "ec"}
ED_JWK = jwt.algorithms.OKPAlgorithm.to_jwk(ED_KEY.public_key(), as_dict=True) | {"kid": "ed"}


def settings(**values: Any) -> JWTSettings:
    return JWTSettings.model_validate(GOOD | values)


@pytest.mark.parametrize(
    ("values", "algorithms", "types"),
    [
        ({"jwt_secret_key": SECRET}, {"HS256"}, {"jwt", "at+jwt"}),
        ({"jwt_secret_key": SECRET, "jwt_algorithm": "HS256"}, {"HS256"}, {"jwt", "at+jwt"}),
        ({"jwt_secret_key": SECRET, "jwt_issuer": "issuer"}, {"HS256"}, {"jwt", "at+jwt"}),
        ({"jwt_secret_key": SECRET, "jwt_type": "at+JWT"}, {"HS256"}, {"at+jwt"}),
    ],
)
def test_tokens_may_be_signed_by_a_secret(
    values: dict[str, str], algorithms: set[str], types: set[str]
) -> None:
    verifier = create_verifier(settings(**values))
    assert isinstance(verifier.keys, SecretKeys)
    assert verifier.algorithms == algorithms
    assert verifier.types == types


@pytest.mark.parametrize(
    ("values", "url"),
    [
        ({}, "https://id.example.com"),
        ({"jwt_issuer": "http://localhost:9001"}, "http://localhost:9001"),
        ({"jwt_issuer": "http://id:9001", "debug": "1"}, "http://id:9001"),
        ({"jwt_jwks_url": JWKS_URL}, JWKS_URL),
        ({"jwt_jwks_url": JWKS_URL, "jwt_issuer": "issuer"}, JWKS_URL),
        ({"jwt_jwks_url": "http://127.0.0.1/jwks"}, "http://127.0.0.1/jwks"),
        ({"jwt_jwks_url": "http://id/", "debug": "1"}, "http://id/"),
    ],
)
def test_tokens_may_be_signed_by_published_keys(values: dict[str, str], url: str) -> None:
    verifier = create_verifier(settings(**values))
    assert isinstance(verifier.keys, JWKSKeys)
    assert isinstance(verifier.keys.load, partial)
    assert verifier.keys.load.args == (url,)
    assert (verifier.keys.load.func is fetch) == ("jwt_jwks_url" in values)
    assert "HS256" not in verifier.algorithms


@pytest.mark.parametrize(
    ("values", "variable", "message"),
    [
        ({"jwt_issuer": "issuer"}, "jwt_jwks_url", "or JWT_ISSUER to an https URL"),
        ({"jwt_issuer": "http://id.example.com"}, "jwt_jwks_url", "or JWT_ISSUER to an https URL"),
        (
            {"jwt_secret_key": SECRET, "jwt_jwks_url": JWKS_URL},
            "jwt_jwks_url",
            "unset this or JWT_SECRET_KEY",
        ),
        ({"jwt_secret_key": "short"}, "jwt_secret_key", "32 bytes"),
        ({"jwt_secret_key": "change-me"}, "jwt_secret_key", "placeholder"),
        ({"jwt_issuer": ""}, "jwt_issuer", "set it to the iss"),
        ({"jwt_jwks_url": "http://id.example.com/"}, "jwt_jwks_url", "must be https"),
        ({"jwt_jwks_url": "file:///etc/passwd"}, "jwt_jwks_url", "must be https"),
        ({"jwt_jwks_url": "https:///jwks"}, "jwt_jwks_url", "must be https"),
        (
            {"jwt_secret_key": SECRET, "jwt_algorithm": "RS256"},
            "jwt_algorithm",
            "unset this or JWT_SECRET_KEY",
        ),
        ({"jwt_algorithm": "HS256"}, "jwt_algorithm", "shared secret"),
        ({"jwt_algorithm": "none"}, "jwt_algorithm", "Input should be"),
        ({"jwt_audience_claim": ""}, "jwt_audience_claim", "at least 1 character"),
    ],
)
def test_settings_that_contradict_each_other_are_rejected(
    values: dict[str, str], variable: str, message: str
) -> None:
    with pytest.raises(ValidationError, match=message) as refusal:
        settings(**values)
    assert [error["loc"] for error in refusal.value.errors()] == [(variable,)]


def test_the_log_names_the_setting_of_scopes() -> None:
    assert settings().scope_hint() == "; JWT_SCOPE_CLAIMS names scope, scp"


def test_the_start_says_what_is_still_to_be_set(caplog: pytest.LogCaptureFixture) -> None:
    create_verifier(settings())
    assert not caplog.records
    create_verifier(settings(jwt_issuer=PLACEHOLDER_ISSUER))
    assert "set it and JWT_AUDIENCE to those of your identity provider" in caplog.text


def make_token(key: Any, algorithm: str, kid: str | None = None, **changes: Any) -> bytes:
    claims = {
        "iss": "https://id.example.com",
        "aud": "https://api.example.com",
        "sub": "user",
        "exp": 10**10,
    }
    headers = {name: changes.pop(name) for name in ("typ",) if name in changes}
    if kid:
        headers["kid"] = kid
    return jwt.encode(claims | changes, key, algorithm, headers=headers).encode()


def verify(token: bytes, *keys: dict[str, Any], **values: Any) -> TokenUser:
    """Verify a token as if the issuer had published these keys."""

    async def load() -> dict[str, Any]:
        return {"keys": list(keys)}

    verifier = create_verifier(settings(**values))
    assert isinstance(verifier.keys, JWKSKeys)
    verifier.keys.load = load
    return asyncio.run(verifier.verify(token))


KEYS = (RSA_JWK, EC_JWK, ED_JWK)


@pytest.mark.parametrize(
    "token",
    [
        make_token(RSA_KEY, "RS256", "rsa"),
        make_token(EC_KEY, "ES256", "ec"),
        make_token(ED_KEY, "EdDSA", "ed"),
        make_token(ED_KEY, "Ed25519", "ed"),
        # One key of each algorithm, so that no name is needed.
        make_token(RSA_KEY, "RS256"),
        make_token(ED_KEY, "Ed25519"),
        make_token(RSA_KEY, "RS256", typ="at+jwt"),
        make_token(RSA_KEY, "RS256", typ="application/AT+jwt"),
        make_token(RSA_KEY, "RS256", typ=None),
    ],
)
def test_each_key_verifies_its_own_algorithm(token: bytes) -> None:
    assert verify(token, *KEYS).identity == "user"


@pytest.mark.parametrize(
    "token",
    [
        make_token(b"x" * 32, "HS256", "rsa"),
        # The public key as the secret, in the ways that people write it down.
        make_token(json.dumps(RSA_JWK).encode()[1:], "HS256", "rsa"),
        make_token(RSA_KEY, "RS512", "rsa"),
        make_token(RSA_KEY, "PS256", "rsa"),
        make_token(EC_KEY, "ES256", "rsa"),
        make_token(ED_KEY, "EdDSA", "ec"),
        make_token(rsa.generate_private_key(public_exponent=65537, key_size=2048), "RS256", "rsa"),
        make_token(RSA_KEY, "RS256", "other"),
        make_token(RSA_KEY, "RS256", "../rsa"),
        make_token(RSA_KEY, "RS256", "rsa", typ="dpop+jwt"),
        make_token(RSA_KEY, "RS256", "rsa", typ="logout+jwt"),
        make_token(RSA_KEY, "RS256", "rsa", nonce="x"),
        jwt.encode({"sub": "user"}, RSA_KEY, "RS256").encode(),
    ],
)
def test_other_tokens_are_rejected(token: bytes) -> None:
    with pytest.raises(InvalidToken):
        verify(token, *KEYS)


@pytest.mark.parametrize("algorithm", ["ES256", "Ed25519"])
def test_a_setting_leaves_one_algorithm(algorithm: str) -> None:
    tokens = {
        "RS256": make_token(RSA_KEY, "RS256", "rsa"),
        "ES256": make_token(EC_KEY, "ES256", "ec"),
        "EdDSA": make_token(ED_KEY, "EdDSA", "ed"),
        "Ed25519": make_token(ED_KEY, "Ed25519", "ed"),
    }
    assert verify(tokens.pop(algorithm), *KEYS, jwt_algorithm=algorithm).identity
    for token in tokens.values():
        with pytest.raises(InvalidToken, match="signed by another algorithm"):
            verify(token, *KEYS, jwt_algorithm=algorithm)


def test_a_key_that_is_too_short_verifies_nothing() -> None:
    with pytest.warns(jwt.InsecureKeyLengthWarning):
        token = make_token(WEAK_KEY, "RS256", "weak")
    with pytest.raises(InvalidToken, match="InvalidKeyError"):
        verify(token, WEAK_JWK)


def test_settings_say_where_the_claims_are() -> None:
    token = make_token(
        RSA_KEY, "RS256", aud="other", client_id="https://api.example.com", nonce="x"
    )
    with pytest.raises(InvalidToken):
        verify(token, *KEYS)
    token = make_token(
        RSA_KEY,
        "RS256",
        aud=None,
        client_id="https://api.example.com",
        nonce="x",
        realm_access={"roles": ["a", "b"]},
        permissions=["c"],
    )
    user = verify(
        token,
        *KEYS,
        jwt_audience_claim="client_id",
        jwt_accept_id_tokens="true",
        jwt_scope_claims="permissions, realm_access.roles",
    )
    assert user.scopes == ("c", "a", "b")


@pytest.mark.parametrize(
    ("values", "claims", "reason"),
    [
        ({}, {"aud": None}, "has no aud: JWT_AUDIENCE_CLAIM names the claim to look at"),
        (
            {"jwt_audience_claim": "client_id"},
            {},
            "has no client_id: JWT_AUDIENCE_CLAIM names the claim to look at",
        ),
        ({}, {"iss": None}, "has no iss: it must equal JWT_ISSUER"),
        ({}, {"sub": None}, "has no sub"),
    ],
)
def test_the_log_says_which_claim_is_absent_and_what_it_is_for(
    values: dict[str, str], claims: dict[str, Any], reason: str
) -> None:
    # PyJWT encodes no issuer that is None, but does not check other claims.
    token = make_token(RSA_KEY, "RS256", **claims) if "iss" not in claims else without_iss()
    with pytest.raises(InvalidToken) as refusal:
        verify(token, *KEYS, **values)
    assert str(refusal.value) == reason


def without_iss() -> bytes:
    claims = {"aud": "https://api.example.com", "sub": "user", "exp": 10**10}
    return jwt.encode(claims, RSA_KEY, "RS256").encode()
