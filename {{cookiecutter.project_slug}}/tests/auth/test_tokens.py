import asyncio
import base64
import hashlib
import hmac
import json
import time

import jwt
import pytest
from pydantic import SecretStr, ValidationError

from app.auth.tokens import InvalidToken, SecretKeys, TokenSettings, TokenUser, Verifier
from tests.auth.support import make_token

SECRET = "secret-of-the-tests-with-32-bytes"
OTHER = "another-secret-of-the-tests-32-by"
PUBLIC_KEY = """-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEEVs/o5+uQbTjL3chynL4wXgUg2R9
q9UU8I5mEovUf86QZ7kOBIjJwqnzD1omageEHWwHdBO6B+dFabmdT9POxg==
-----END PUBLIC KEY-----
"""
NOW = int(time.time())


def verify(token: str, **changes: object) -> TokenUser:
    values = {
        "jwt_secret_key": SECRET,
        "jwt_issuer": "https://id.example.com",
        "jwt_audience": "https://api.example.com",
    }
    settings = TokenSettings.model_validate(values | changes)
    verifier = Verifier(settings, SecretKeys(settings), algorithm="HS256", types=["at+jwt"])
    return asyncio.run(verifier.verify(token.encode()))


def encode(value: object) -> str:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def sign(header: object, payload: object, secret: str = SECRET) -> str:
    """Make a token as PyJWT would not."""
    text = f"{encode(header)}.{encode(payload)}"
    digest = hmac.digest(secret.encode(), text.encode(), hashlib.sha256)
    return f"{text}.{encode(digest)}"


@pytest.mark.parametrize(
    ("changes", "scopes"),
    [
        ({}, []),
        ({"scope": "items:read items:write"}, ["items:read", "items:write"]),
        ({"scp": ["items:read"]}, ["items:read"]),
        ({"aud": ["other", "https://api.example.com"]}, []),
        ({"nbf": NOW - 60, "iat": NOW - 60}, []),
    ],
)
def test_a_token_says_who_calls_and_what_it_allows(
    changes: dict[str, object],
    scopes: list[str],
) -> None:
    user = verify(make_token(**changes))
    assert user.is_authenticated
    assert user.identity == user.display_name == "user-of-the-tests"
    assert user.scopes == scopes
    assert verify(make_token(preferred_username="ada")).display_name == "ada"


def test_clocks_may_differ_a_little() -> None:
    now = int(time.time())
    assert verify(make_token(exp=now - 60), jwt_leeway=100).identity
    assert verify(make_token(iat=now + 60, nbf=now + 60), jwt_leeway=100).identity


HEADER: dict[str, object] = {"alg": "HS256", "typ": "at+jwt"}
CLAIMS: dict[str, object] = {
    "iss": "https://id.example.com",
    "aud": "https://api.example.com",
    "sub": "user",
    "jti": "token",
    "iat": NOW,
    "exp": NOW + 900,
}
SIGNED = sign(HEADER, CLAIMS)
UNSIGNED = SIGNED.rpartition(".")[0]

HOSTILE_HEADERS: list[object] = [
    {"alg": "none", "typ": "at+jwt"},
    {"alg": "None", "typ": "at+jwt"},
    {"alg": "nOnE", "typ": "at+jwt"},
    {"alg": "", "typ": "at+jwt"},
    {"alg": None, "typ": "at+jwt"},
    {"alg": ["HS256"], "typ": "at+jwt"},
    {"alg": {"HS256": 1}, "typ": "at+jwt"},
    {"alg": "hs256", "typ": "at+jwt"},
    {"alg": "HS384", "typ": "at+jwt"},
    {"alg": "RS256", "typ": "at+jwt"},
    {"typ": "at+jwt"},
    {"alg": "HS256"},
    {"alg": "HS256", "typ": "JWT"},
    {"alg": "HS256", "typ": "at+jwt+x"},
    {"alg": "HS256", "typ": "dpop+jwt"},
    {"alg": "HS256", "typ": None},
    {"alg": "HS256", "typ": ["at+jwt"]},
    HEADER | {"kid": 1},
    HEADER | {"kid": None},
    HEADER | {"kid": ["a"]},
    HEADER | {"crit": []},
    HEADER | {"crit": ["exp"]},
    HEADER | {"crit": ["b64"], "b64": True},
    HEADER | {"crit": ["b64"], "b64": False},
    HEADER | {"b64": False},
    [],
    "HS256",
    None,
    b"",
    b"{",
    b"\xff\xfe",
    b"[" * 5000,
]
HOSTILE_CLAIMS: list[dict[str, object]] = [
    *[dict.fromkeys([name]) for name in CLAIMS],
    {"exp": NOW - 60},
    {"exp": 0},
    {"exp": -1},
    {"exp": "soon"},
    {"exp": [NOW + 900]},
    {"exp": {}},
    {"exp": float("nan")},
    {"exp": float("inf")},
    {"iat": NOW + 3600},
    {"iat": "now"},
    {"nbf": NOW + 3600},
    {"nbf": "now"},
    {"iss": "https://id.example.com/"},
    {"iss": "https://id.example.com.evil.example"},
    {"iss": ["https://id.example.com"]},
    {"aud": "https://api.example.com.evil.example"},
    {"aud": []},
    {"aud": ["other"]},
    {"aud": [["https://api.example.com"]]},
    {"aud": {"https://api.example.com": 1}},
    {"aud": ""},
    {"sub": ""},
    {"sub": 1},
    {"sub": ["user"]},
    {"jti": 1},
]
HOSTILE_TOKENS = [
    "",
    ".",
    "..",
    "...",
    "a.b.c",
    SIGNED + ".",
    "." + SIGNED,
    SIGNED + "=",
    SIGNED + " ",
    SIGNED + "\n",
    SIGNED + ", " + SIGNED,
    SIGNED.replace(".", ".."),
    SIGNED[:-1],
    SIGNED[:-1] + ("A" if SIGNED[-1] != "A" else "E"),
    SIGNED[:5] + ("A" if SIGNED[5] != "A" else "B") + SIGNED[6:],
    UNSIGNED,
    UNSIGNED + ".",
    SIGNED.upper(),
    sign(HEADER, CLAIMS, OTHER),
    sign(HEADER, CLAIMS, ""),
    sign(HEADER | {"kid": "../../dev/null"}, CLAIMS, ""),
    sign(HEADER | {"kid": "' UNION SELECT 'x"}, CLAIMS, "x"),
    sign(HEADER | {"jwk": {"kty": "oct", "k": encode(OTHER.encode())}}, CLAIMS, OTHER),
    sign(HEADER | {"jku": "http://127.0.0.1:1/keys"}, CLAIMS, OTHER),
    sign(HEADER | {"x5u": "http://127.0.0.1:1/keys"}, CLAIMS, OTHER),
    sign(HEADER, []),
    sign(HEADER, b"\xff"),
    sign(HEADER, b"1" * 5000),
    sign(HEADER, b"[" * 5000),
    sign(HEADER, CLAIMS | {"padding": "x" * 8192}),
    "ä.ö.ü",
    "x" * 100_000,
]


HOSTILE_TOKENS += [sign(header, CLAIMS) for header in HOSTILE_HEADERS]
HOSTILE_TOKENS += [sign(HEADER, CLAIMS | claims) for claims in HOSTILE_CLAIMS]


@pytest.mark.parametrize("token", HOSTILE_TOKENS, ids=map(str, range(len(HOSTILE_TOKENS))))
def test_a_hostile_token_is_refused_for_a_reason_that_does_not_quote_it(token: str) -> None:
    with pytest.raises(InvalidToken) as refusal:
        verify(token)
    reason = str(refusal.value)
    assert reason.isprintable()
    assert 0 < len(reason) < 50


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"exp": NOW - 60}, "ExpiredSignatureError"),
        ({"aud": "other"}, "InvalidAudienceError"),
        ({"jti": None}, "has no jti"),
    ],
)
def test_the_reason_says_what_is_wrong(
    changes: dict[str, object],
    reason: str,
) -> None:
    with pytest.raises(InvalidToken) as refusal:
        verify(make_token(**changes))
    assert str(refusal.value) == reason


def test_the_tests_make_tokens_that_are_good_but_for_what_they_change() -> None:
    assert verify(SIGNED).identity == "user"
    assert verify(sign({"alg": "HS256", "typ": "application/AT+jwt", "kid": "x"}, CLAIMS)).identity


def test_several_secrets_are_believed_while_one_is_replaced() -> None:
    token = make_token()
    assert verify(token, jwt_secret_key=OTHER, jwt_previous_secret_keys=[SECRET]).identity
    with pytest.raises(InvalidToken):
        verify(token, jwt_secret_key=OTHER)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"jwt_secret_key": "change-me"}, "placeholder"),
        ({"jwt_secret_key": "x" * 31}, "32 bytes"),
        ({"jwt_secret_key": PUBLIC_KEY}, "public key"),
        ({"jwt_previous_secret_keys": "short"}, "32 bytes"),
        ({"jwt_issuer": ""}, "name who issues"),
        ({"jwt_audience": ""}, "name this service"),
        ({"jwt_leeway": 301}, "less than or equal to 300"),
    ],
)
def test_an_unsafe_setting_is_refused(values: dict[str, str], message: str) -> None:
    good = {"jwt_secret_key": "x" * 32, "jwt_issuer": "issuer", "jwt_audience": "audience"}
    TokenSettings.model_validate(good)
    with pytest.raises(ValidationError, match=message):
        TokenSettings.model_validate(good | values)


def test_there_may_be_no_secret_where_others_publish_keys() -> None:
    settings = TokenSettings(jwt_secret_key=SecretStr(""), jwt_issuer="i", jwt_audience="a")
    assert not settings.jwt_secret_key


def test_the_placeholder_is_a_secret_that_nobody_knows_while_debug_is_on() -> None:
    values = {"debug": True, "jwt_secret_key": "change-me", "jwt_issuer": "i", "jwt_audience": "a"}
    first, second = (
        TokenSettings.model_validate(values).jwt_secret_key.get_secret_value() for _ in range(2)
    )
    assert first != second
    assert len(first) == 64
    with pytest.raises(InvalidToken):
        verify(
            jwt.encode(CLAIMS, "change-me" * 4, headers={"typ": "at+jwt"}),
            debug=True,
            jwt_secret_key="change-me",
        )


def test_names_of_development_are_a_risk() -> None:
    names = {"jwt_issuer": "http://localhost:8000", "jwt_audience": "https://api.example.com"}
    assert list(TokenSettings(**names).risks()) == [
        "JWT_ISSUER: is that of development: name the one of production"
    ]
