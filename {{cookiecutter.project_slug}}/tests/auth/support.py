"""Access tokens for tests."""

import time

import jwt

SECRET = "secret-of-the-tests-with-32-bytes"
ISSUER = "https://id.example.com"
AUDIENCE = "https://api.example.com"


def make_token(**changes: object) -> str:
    """Return an access token. `changes`: to its claims; None removes one."""
    now = int(time.time())
    claims = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "user-of-the-tests",
        "jti": "token-of-the-tests",
        "iat": now,
        "exp": now + 900,
    }
    claims = {name: value for name, value in (claims | changes).items() if value is not None}
    return jwt.encode(claims, SECRET, headers={"typ": "at+jwt"})
