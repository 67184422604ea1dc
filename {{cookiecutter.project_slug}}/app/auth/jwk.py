"""Reads the public keys that an issuer publishes."""

from contextlib import suppress
from typing import Any

import jwt
from jwt.algorithms import OKPAlgorithm

from app.auth.keys import Key

# By the type of a key and its curve, the algorithms that it can be used with. The first one is the
# default. `EdDSA` and `Ed25519` are two names of the same algorithm.
# Source: RFC 7518, section 3.1; RFC 9864, section 2.2
ALGORITHMS = {
    ("RSA", None): ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"],
    ("EC", "P-256"): ["ES256"],
    ("EC", "P-384"): ["ES384"],
    ("EC", "P-521"): ["ES512"],
    ("OKP", "Ed25519"): ["EdDSA", "Ed25519"],
    ("OKP", "Ed448"): ["EdDSA"],
}

# Later versions of PyJWT may know this name, and refuse to register it again.
with suppress(ValueError):
    jwt.register_algorithm("Ed25519", OKPAlgorithm())


def read_key(jwk: Any, algorithm: str) -> Key | None:
    """Return the key of a JSON Web Key, or None if it is not one that verifies signatures.

    `algorithm`: the only one to accept, or empty to accept the one of the key.
    Source: RFC 7517, section 4
    """
    try:
        possible = ALGORITHMS[jwk["kty"], jwk.get("crv")]
        stated = jwk.get("alg") or (algorithm if algorithm in possible else possible[0])
        names = possible if "EdDSA" in possible else [stated]
        is_ours = stated in possible and (not algorithm or algorithm in names)
        verifies = jwk.get("use", "sig") == "sig" and "verify" in jwk.get("key_ops", ["verify"])
        # A private key that is published is one that anybody can sign with.
        if not is_ours or not verifies or "d" in jwk:
            return None
        kid = jwk.get("kid")
        if kid is not None and not isinstance(kid, str):
            return None
        return Key(kid, frozenset(names), jwt.PyJWK(jwk, possible[0]).key)
    except Exception:
        # Of an unknown type, or malformed, which says nothing about the other keys.
        return None
