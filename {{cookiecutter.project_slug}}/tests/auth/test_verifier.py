import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from app.auth import verifier as module
from app.auth.keys import Key, KeysUnavailable
from app.auth.secret_keys import SecretKeys
from app.auth.tokens import InvalidToken, TokenSettings, TokenUser
from app.auth.verifier import Verifier
from tests.auth.support import make_token

SECRET = "secret-of-the-tests-with-32-bytes"
OTHER = "another-secret-of-the-tests-32-by"
NOW = int(time.time())


def make_verifier(**options: Any) -> Verifier:
    settings = TokenSettings.model_validate(
        {
            "jwt_secret_key": options.pop("secret", SECRET),
            "jwt_previous_secret_keys": options.pop("previous", []),
            "jwt_issuer": "https://id.example.com",
            "jwt_audience": "https://api.example.com",
            "jwt_leeway": options.pop("leeway", 10),
        }
    )
    required: dict[str, Any] = {"algorithms": ["HS256"], "types": ["at+jwt"]}
    return Verifier(settings, options.pop("keys", SecretKeys(settings)), **(required | options))


def verify(token: str, **options: Any) -> TokenUser:
    return asyncio.run(make_verifier(**options).verify(token.encode()))


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
        ({}, ()),
        ({"scope": "items:read items:write"}, ("items:read", "items:write")),
        ({"aud": ["other", "https://api.example.com"]}, ()),
        ({"nbf": NOW - 60, "iat": NOW - 60}, ()),
        ({"jti": None, "iat": None}, ()),
        ({"sub": "\N{HEDGEHOG}" * 255}, ()),
    ],
)
def test_a_good_token_identifies_a_user(
    changes: dict[str, object], scopes: tuple[str, ...]
) -> None:
    user = verify(make_token(**changes))
    assert user.is_authenticated
    assert user.identity == changes.get("sub", "user-of-the-tests")
    assert user.scopes == scopes


def test_clocks_may_differ_a_little() -> None:
    now = int(time.time())
    assert verify(make_token(exp=now - 60), leeway=100).identity
    assert verify(make_token(iat=now + 60, nbf=now + 60), leeway=100).identity


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
    {"exp": 10**400, "aud": "other"},
    {"iss": {}},
    {"iss": 1},
    {"aud": None},
    {"aud": 1},
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
    {"sub": {"user": 1}},
    {"sub": True},
    {"sub": "x" * 256},
    {"sub": "user\n"},
    {"sub": "\0"},
    {"sub": "\ud800"},
    {"name": "\ud800"},
    {"\ud800": "name"},
    {"events": {}},
    {"typ": "ID"},
    {"token_use": "id"},
    {"nonce": "x"},
    {"nonce": None},
    {"at_hash": "x"},
    {"c_hash": "x"},
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
    sign(HEADER, CLAIMS | {"padding": "x" * 16384}),
    sign(HEADER, CLAIMS | {"deep": json.loads("[" * 100 + "]" * 100)}),
    sign(HEADER, json.dumps(CLAIMS).encode()[:-1] + b', "x": ' + b"[" * 600 + b"]" * 600 + b"}"),
    "ä.ö.ü",
    "x" * 100_000,
]


HOSTILE_TOKENS += [sign(header, CLAIMS) for header in HOSTILE_HEADERS]
HOSTILE_TOKENS += [sign(HEADER, CLAIMS | claims) for claims in HOSTILE_CLAIMS]


@pytest.mark.parametrize("token", HOSTILE_TOKENS, ids=map(str, range(len(HOSTILE_TOKENS))))
def test_a_hostile_token_is_rejected_for_a_reason_that_does_not_quote_it(token: str) -> None:
    with pytest.raises(InvalidToken) as refusal:
        verify(token)
    reason = str(refusal.value)
    assert reason.isprintable()
    assert 0 < len(reason) < 80


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"exp": NOW - 60}, "ExpiredSignatureError"),
        ({"aud": "other"}, "for another audience: its aud does not name JWT_AUDIENCE"),
        ({"aud": None}, "has no aud: see the setting"),
        ({"iss": None}, "has no iss"),
        ({"iss": "https://other.example.com"}, "InvalidIssuerError"),
        ({"nonce": "x"}, "is an ID token, which is for the client that logs a user in"),
    ],
)
def test_the_reason_says_what_is_wrong(changes: dict[str, object], reason: str) -> None:
    with pytest.raises(InvalidToken) as refusal:
        verify(make_token(**changes), hints={"aud": "see the setting"})
    assert str(refusal.value) == reason


def test_the_tests_make_tokens_that_are_good_but_for_what_they_change() -> None:
    assert verify(SIGNED).identity == "user"
    assert verify(sign({"alg": "HS256", "typ": "application/AT+jwt", "kid": "x"}, CLAIMS)).identity


def test_several_secrets_are_accepted_while_one_is_replaced() -> None:
    token = make_token()
    assert verify(token, secret=OTHER, previous=[SECRET]).identity
    with pytest.raises(InvalidToken):
        verify(token, secret=OTHER)


@pytest.mark.parametrize(
    ("claims", "is_accepted"),
    [
        ({"aud": None, "client_id": "https://api.example.com"}, True),
        ({"client_id": "https://api.example.com"}, True),
        ({"aud": None, "client_id": ["other", "https://api.example.com"]}, True),
        ({"aud": None}, False),
        ({}, False),
        ({"client_id": "other"}, False),
        ({"aud": "other", "client_id": "https://api.example.com"}, False),
        ({"aud": [], "client_id": "https://api.example.com"}, False),
        ({"azp": "https://api.example.com"}, False),
        ({"aud": None, "client_id": {"https://api.example.com": 1}}, False),
    ],
)
def test_another_claim_may_name_the_audience(claims: dict[str, object], is_accepted: bool) -> None:
    if is_accepted:
        assert verify(make_token(**claims), audience_claim="client_id").identity
    else:
        with pytest.raises(InvalidToken):
            verify(make_token(**claims), audience_claim="client_id")


def test_no_other_claim_stands_in_for_the_audience() -> None:
    with pytest.raises(InvalidToken):
        verify(make_token(aud="other", client_id="https://api.example.com"))


def test_id_tokens_are_accepted_on_request() -> None:
    assert verify(make_token(nonce="x"), accept_id_tokens=True).identity
    with pytest.raises(InvalidToken):
        verify(make_token(events={}), accept_id_tokens=True)


def test_a_token_may_have_16_kilobytes() -> None:
    groups = [f"{number:036}" for number in range(290)]
    token = make_token(groups=groups)
    assert 15_000 < len(token) < module.MAX_LENGTH
    assert verify(token, scope_claims=["groups"]).scopes == tuple(groups)


class Issuer:
    """Has a key, replaces it, or does not respond."""

    def __init__(self) -> None:
        self.keys = [Key("a", frozenset(["HS256"]), SECRET.encode())]
        self.asked: list[tuple[str | None, str]] = []
        self.is_down = False

    async def find(self, kid: str | None, algorithm: str) -> list[Key]:
        self.asked.append((kid, algorithm))
        if self.is_down:
            raise KeysUnavailable(1)
        return self.keys


@pytest.fixture
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[float], None]]:
    """Set the time at which a remembered token is used."""

    def set_time(value: float) -> None:
        monkeypatch.setattr(module, "time", lambda: value)

    yield set_time


def run(issuer: Issuer, *steps: Callable[[Verifier], Any], **options: Any) -> list[Any]:
    """Return the outcome of each step: a user, or the exception."""
    verifier = make_verifier(keys=issuer, **options)

    async def call() -> list[Any]:
        outcomes = []
        for step in steps:
            try:
                outcome = step(verifier)
                outcomes.append(await outcome if asyncio.iscoroutine(outcome) else outcome)
            except (InvalidToken, KeysUnavailable) as error:
                outcomes.append(error)
        return outcomes

    return asyncio.run(call())


def test_a_token_is_verified_once(issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    token = sign(HEADER | {"kid": "a"}, CLAIMS).encode()
    verified = []
    verify_signature = Verifier.verify_signature

    def count(verifier: Verifier, token: bytes) -> Any:
        verified.append(token)
        return verify_signature(verifier, token)

    monkeypatch.setattr(Verifier, "verify_signature", count)
    first, second = run(issuer, *[lambda verifier: verifier.verify(token)] * 2)
    assert first is second
    assert verified == [token]
    # The key is asked for each time, and how the token names it.
    assert issuer.asked == [("a", "HS256")] * 2


def test_a_remembered_token_ends_with_its_key(issuer: Issuer) -> None:
    token = sign(HEADER, CLAIMS).encode()

    def replace_key(verifier: Verifier) -> None:
        issuer.keys = [Key("a", frozenset(["HS256"]), OTHER.encode())]

    def use(verifier: Verifier) -> Any:
        return verifier.verify(token)

    user, _, refused, again = run(issuer, use, replace_key, use, use)
    assert user.identity == "user"
    assert isinstance(refused, InvalidToken)
    assert isinstance(again, InvalidToken)


def test_a_key_that_is_fetched_again_is_the_same_key(issuer: Issuer) -> None:
    token = sign(HEADER, CLAIMS).encode()

    def fetch_keys(verifier: Verifier) -> None:
        issuer.keys = [Key("a", frozenset(["HS256"]), SECRET.encode())]

    def use(verifier: Verifier) -> Any:
        return verifier.verify(token)

    first, _, second = run(issuer, use, fetch_keys, use)
    assert first is second


def test_a_remembered_token_needs_its_issuer(issuer: Issuer) -> None:
    token = sign(HEADER, CLAIMS).encode()

    def stop(verifier: Verifier) -> None:
        issuer.is_down = True

    def use(verifier: Verifier) -> Any:
        return verifier.verify(token)

    assert isinstance(run(issuer, use, stop, use)[-1], KeysUnavailable)


@pytest.mark.parametrize(("later", "is_accepted"), [(909, True), (911, False), (10**6, False)])
def test_a_remembered_token_expires(
    later: int, is_accepted: bool, issuer: Issuer, now: Callable[[float], None]
) -> None:
    # What PyJWT checks is the time of the machine, so this one has expired there as well.
    exp = int(time.time()) + 3 if is_accepted else int(time.time()) - 5
    token = sign(HEADER, CLAIMS | {"exp": exp}).encode()

    def wait(verifier: Verifier) -> None:
        now(exp - 900 + later)
        verifier.leeway = 0

    def use(verifier: Verifier) -> Any:
        return verifier.verify(token)

    first, _, second = run(issuer, use, wait, use)
    assert first.identity == "user"
    if is_accepted:
        assert second is first
    else:
        assert str(second) == "ExpiredSignatureError"


def test_a_token_that_differs_in_one_byte_is_another_token(issuer: Issuer) -> None:
    token = sign(HEADER, CLAIMS)
    others = [
        token[:place] + ("A" if token[place] != "A" else "B") + token[place + 1 :]
        for place in range(len(token))
    ]
    steps = [lambda verifier, text=text: verifier.verify(text.encode()) for text in others]
    user, *refused = run(issuer, lambda verifier: verifier.verify(token.encode()), *steps)
    assert user.identity == "user"
    # The last character has bits that decode to nothing, and PyJWT rejects it for these.
    assert all(isinstance(outcome, InvalidToken) for outcome in refused)


def test_failures_are_not_remembered(issuer: Issuer) -> None:
    token = sign(HEADER, CLAIMS, OTHER).encode()

    def use(verifier: Verifier) -> Any:
        return verifier.verify(token)

    def publish(verifier: Verifier) -> None:
        assert not verifier.cache.entries
        issuer.keys = [Key("a", frozenset(["HS256"]), OTHER.encode())]

    refused, _, user = run(issuer, use, publish, use)
    assert isinstance(refused, InvalidToken)
    assert user.identity == "user"


def test_the_reason_says_that_no_key_fits(issuer: Issuer) -> None:
    issuer.keys = []
    with pytest.raises(InvalidToken, match="no key of the issuer has its kid and is for HS256"):
        verify(make_token(), keys=issuer)
