import asyncio
import json
import logging
import threading
from collections.abc import Awaitable, Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from app.auth import jwks
from app.auth.jwks import LIFETIME, PAUSE, JWKSKeys
from app.auth.tokens import InvalidToken, KeysUnavailable
from app.auth.verify import JWTSettings, create_verifier

RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
WEAK_KEY = rsa.generate_private_key(public_exponent=65537, key_size=1024)
EC_KEY = ec.generate_private_key(ec.SECP256R1())
RSA_JWK = jwt.algorithms.RSAAlgorithm.to_jwk(RSA_KEY.public_key(), as_dict=True)
WEAK_JWK = jwt.algorithms.RSAAlgorithm.to_jwk(WEAK_KEY.public_key(), as_dict=True)
EC_JWK = jwt.algorithms.ECAlgorithm.to_jwk(EC_KEY.public_key(), as_dict=True)


class Issuer:
    """Publishes keys, when it can."""

    def __init__(self) -> None:
        self.keys: list[Any] = [RSA_JWK | {"kid": "a"}]
        self.is_down = False
        self.fetched = 0
        self.now = 1000.0

    def fetch(self, url: str) -> bytes:
        assert url == "https://id.example.com/jwks.json"
        self.fetched += 1
        if self.is_down:
            raise OSError("no route to host")
        return json.dumps({"keys": self.keys}).encode()

    def clock(self) -> float:
        return self.now


@pytest.fixture
def issuer() -> Issuer:
    return Issuer()


def run(
    issuer: Issuer, test: Callable[[JWKSKeys], Awaitable[None]], algorithm: str = "RS256"
) -> None:
    async def call() -> None:
        url = "https://id.example.com/jwks.json"
        await test(JWKSKeys(url, algorithm, fetch=issuer.fetch, clock=issuer.clock))

    asyncio.run(call())


def test_keys_are_fetched_once_however_many_ask_for_them(issuer: Issuer) -> None:
    async def test(keys: JWKSKeys) -> None:
        found = await asyncio.gather(*(keys.find("a") for _ in range(20)))
        assert all(len(each) == 1 for each in found)
        assert issuer.fetched == 1

    run(issuer, test)


def test_a_new_key_is_found_but_not_looked_for_all_the_time(issuer: Issuer) -> None:
    async def test(keys: JWKSKeys) -> None:
        await keys.find("a")
        issuer.keys.append(RSA_JWK | {"kid": "b"})
        for kid in ["b", "c", None]:
            assert await keys.find(kid) == []
        assert issuer.fetched == 1
        issuer.now += PAUSE
        found = await asyncio.gather(*(keys.find("b") for _ in range(20)))
        assert all(len(each) == 1 for each in found)
        assert issuer.fetched == 2

    run(issuer, test)


def test_old_keys_serve_while_they_are_renewed_and_while_the_issuer_is_down(issuer: Issuer) -> None:
    async def test(keys: JWKSKeys) -> None:
        await keys.find("a")
        issuer.is_down = True
        issuer.now += LIFETIME
        for _ in range(3):
            assert await keys.find("a")
            assert keys.renewal
            await keys.renewal
        assert issuer.fetched == 2
        issuer.is_down = False
        issuer.keys = [RSA_JWK | {"kid": "b"}]
        issuer.now += PAUSE
        assert await keys.find("a")
        assert await keys.find("b")
        assert await keys.find("a") == []  # withdrawn

    run(issuer, test)


def test_one_renewal_is_under_way_at_a_time(issuer: Issuer) -> None:
    async def test(keys: JWKSKeys) -> None:
        await keys.find("a")
        issuer.now += LIFETIME
        await keys.find("a")
        renewal = keys.renewal
        await keys.find("a")
        assert keys.renewal is renewal
        assert renewal
        await renewal

    run(issuer, test)


def test_without_any_key_nothing_can_be_said(
    issuer: Issuer, caplog: pytest.LogCaptureFixture
) -> None:
    async def test(keys: JWKSKeys) -> None:
        issuer.is_down = True
        for _ in range(3):
            with pytest.raises(KeysUnavailable):
                await keys.find("a")
        assert issuer.fetched == 1
        issuer.is_down = False
        issuer.now += PAUSE
        assert await keys.find("a")

    run(issuer, test)
    assert [record.message for record in caplog.records if record.levelno >= logging.WARNING] == [
        "could not fetch the keys of the issuer"
    ]


@pytest.mark.parametrize(
    "key",
    [
        EC_JWK | {"kid": "b"},
        {"kty": "oct", "k": "AAAA", "kid": "b"},
        RSA_JWK,
        RSA_JWK | {"kid": "b", "use": "enc"},
        RSA_JWK | {"kid": "b", "alg": "RS512"},
        {"kty": "RSA", "kid": "b"},
        {"kid": "b"},
    ],
)
def test_a_key_of_another_kind_is_passed_over(key: dict[str, str], issuer: Issuer) -> None:
    issuer.keys.insert(0, key)

    async def test(keys: JWKSKeys) -> None:
        assert await keys.find("a")
        assert await keys.find("b") == []

    run(issuer, test)


@pytest.mark.parametrize("keys", [[], [EC_JWK | {"kid": "a"}], [None], None])
def test_a_key_set_without_a_key_for_us_is_as_good_as_none(keys: Any, issuer: Issuer) -> None:
    issuer.keys = keys

    async def test(keys: JWKSKeys) -> None:
        with pytest.raises(KeysUnavailable):
            await keys.find("a")

    run(issuer, test)


def make_token(key: Any, algorithm: str, **header: object) -> bytes:
    claims = {
        "iss": "https://id.example.com",
        "aud": "https://api.example.com",
        "sub": "user",
        "jti": "token",
        "iat": 0,
        "exp": 10**10,
    }
    return jwt.encode(claims, key, algorithm, headers={"kid": "a"} | header).encode()


def verify(token: bytes, algorithm: str, issuer: Issuer) -> str:
    settings = JWTSettings(
        jwt_jwks_url="https://id.example.com/jwks.json",
        jwt_algorithm=algorithm,
        jwt_issuer="https://id.example.com",
        jwt_audience="https://api.example.com",
    )
    verifier = create_verifier(settings)
    assert isinstance(verifier.keys, JWKSKeys)
    verifier.keys.fetch = issuer.fetch
    return asyncio.run(verifier.verify(token)).identity


def test_tokens_of_the_issuer_are_believed(issuer: Issuer) -> None:
    assert verify(make_token(RSA_KEY, "RS256"), "RS256", issuer) == "user"
    issuer.keys = [EC_JWK | {"kid": "a"}]
    assert verify(make_token(EC_KEY, "ES256"), "ES256", issuer) == "user"


TOKENS_OF_OTHERS = [
    make_token(b"x" * 32, "HS256"),
    # The public key as the secret, in the ways that people write it down.
    make_token(json.dumps(RSA_JWK | {"kid": "a"}).encode()[1:], "HS256"),
    make_token(RSA_KEY, "RS512"),
    make_token(EC_KEY, "ES256"),
    make_token(rsa.generate_private_key(public_exponent=65537, key_size=2048), "RS256"),
    make_token(RSA_KEY, "RS256", kid="b"),
    make_token(RSA_KEY, "RS256", kid="../a"),
    make_token(RSA_KEY, "RS256", typ="dpop+jwt"),
    jwt.encode({"sub": "user"}, RSA_KEY, "RS256").encode(),
]


@pytest.mark.parametrize("token", TOKENS_OF_OTHERS, ids=map(str, range(len(TOKENS_OF_OTHERS))))
def test_tokens_of_others_are_refused(token: bytes, issuer: Issuer) -> None:
    with pytest.raises(InvalidToken):
        verify(token, "RS256", issuer)


@pytest.mark.parametrize("algorithm", ["HS256", "RS512"])
def test_nobody_asks_the_issuer_about_another_algorithm(algorithm: str, issuer: Issuer) -> None:
    token = make_token(b"x" * 64 if algorithm == "HS256" else RSA_KEY, algorithm, kid="new")
    with pytest.raises(InvalidToken, match="signed by another algorithm"):
        verify(token, "RS256", issuer)
    assert issuer.fetched == 0


def test_a_key_that_is_too_short_signs_nothing(issuer: Issuer) -> None:
    issuer.keys = [WEAK_JWK | {"kid": "a"}]
    with pytest.warns(jwt.InsecureKeyLengthWarning):
        token = make_token(WEAK_KEY, "RS256")
    with pytest.raises(InvalidToken, match="InvalidKeyError"):
        verify(token, "RS256", issuer)


@pytest.fixture
def url() -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.headers["User-Agent"] == "jwks" else 403)
            self.end_headers()
            self.wfile.write(b"x" * int(self.path[1:]))

        def log_message(self, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.01])
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_keys_come_over_http(url: str) -> None:
    assert jwks.fetch(f"{url}/5") == b"xxxxx"
    with pytest.raises(ValueError, match="too large"):
        jwks.fetch(f"{url}/{jwks.MAX_SIZE + 1}")
