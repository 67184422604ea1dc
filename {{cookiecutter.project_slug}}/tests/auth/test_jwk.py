from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

from app.auth.jwk import read_key

PRIVATE: dict[str, Any] = {
    "RSA": rsa.generate_private_key(public_exponent=65537, key_size=2048),
    "P-256": ec.generate_private_key(ec.SECP256R1()),
    "P-384": ec.generate_private_key(ec.SECP384R1()),
    "P-521": ec.generate_private_key(ec.SECP521R1()),
    "Ed25519": ed25519.Ed25519PrivateKey.generate(),
    "Ed448": ed448.Ed448PrivateKey.generate(),
}
K256 = ec.generate_private_key(ec.SECP256K1())


def jwk_of(key: Any) -> dict[str, Any]:
    """Return a key as a JSON Web Key."""
    for algorithm in (
        jwt.algorithms.RSAAlgorithm,
        jwt.algorithms.ECAlgorithm,
        jwt.algorithms.OKPAlgorithm,
    ):
        try:
            return dict(algorithm.to_jwk(key, as_dict=True)) | {"kid": "a"}
        except (jwt.InvalidKeyError, AttributeError):
            continue
    raise AssertionError(key)


PUBLIC = {name: jwk_of(key.public_key()) for name, key in PRIVATE.items()}


def read(key: Any, algorithm: str = "") -> set[str]:
    found = read_key(key, algorithm)
    return set(found.algorithms) if found else set()


@pytest.mark.parametrize(
    ("name", "algorithms"),
    [
        ("RSA", {"RS256"}),
        ("P-256", {"ES256"}),
        ("P-384", {"ES384"}),
        ("P-521", {"ES512"}),
        ("Ed25519", {"EdDSA", "Ed25519"}),
        ("Ed448", {"EdDSA"}),
    ],
)
def test_a_key_has_the_algorithm_of_its_type(name: str, algorithms: set[str]) -> None:
    key = {field: value for field, value in PUBLIC[name].items() if field not in ("alg", "use")}
    assert read(key) == algorithms
    for algorithm in algorithms:
        assert read(key | {"alg": algorithm}) == algorithms
        assert read(key, algorithm) == algorithms
    assert read(key, "HS256") == set()
    assert read(key | {"alg": "HS256"}) == set()
    found = read_key(key, "")
    assert found
    [first, *_] = sorted(algorithms)
    token = jwt.encode({"a": 1}, PRIVATE[name], first)
    assert jwt.decode(token, found.material, algorithms=[first]) == {"a": 1}


def test_a_key_says_its_algorithm_or_the_setting_does() -> None:
    key = PUBLIC["RSA"]
    assert read(key | {"alg": "PS256"}) == {"PS256"}
    assert read(key, "PS256") == {"PS256"}
    assert read(key | {"alg": "RS256"}, "PS256") == set()
    assert read(key | {"alg": "PS256"}, "RS256") == set()


@pytest.mark.parametrize(
    "changes",
    [
        {"use": "enc"},
        {"key_ops": ["sign"]},
        {"key_ops": []},
        {"key_ops": None},
        {"kid": 1},
        {"kid": ["a"]},
        {"alg": "ES256"},
        {"alg": "RSA-OAEP"},
        {"alg": "none"},
        {"alg": ["RS256"]},
        {"kty": "oct", "k": "AAAA"},
        {"kty": "EC"},
        {"kty": None},
        {"kty": ["RSA"]},
        {"crv": "P-256"},
        {"n": None},
        {"n": 1},
        {"e": ""},
    ],
)
def test_a_key_of_another_kind_is_skipped(changes: dict[str, Any]) -> None:
    key = PUBLIC["RSA"]
    assert read(key | {"use": "sig", "key_ops": ["verify"], "kid": None}) == {"RS256"}
    assert read_key(key | changes, "") is None


@pytest.mark.parametrize("key", [None, 1, "RSA", [], {}, {"kid": "a"}, {"kty": "oct"}])
def test_a_value_that_is_not_a_key_is_skipped(key: object) -> None:
    assert read_key(key, "") is None


def test_a_curve_that_is_not_supported_is_skipped() -> None:
    assert read(jwk_of(K256.public_key())) == set()


def test_a_private_key_that_is_published_is_skipped() -> None:
    for key in PRIVATE.values():
        assert read(jwk_of(key)) == set()
