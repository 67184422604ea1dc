"""Hostile access tokens, sent to a service in production. None is accepted."""

import json
import re
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from tests.conftest import Bake
from tests.support.raw import Headers, ask, encode, handshake, make_rsa_key, sign
from tests.support.service import Service, copied, serving

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("tokens")]

SECRET = b"a-secret-that-both-know-of-32-bytes"
ISSUER = "https://id.example.com"
AUDIENCE = "https://api.example.com"
PRODUCTION = {
    "DEBUG": "false",
    "ALLOWED_HOSTS": "localhost",
    "JWT_ISSUER": ISSUER,
    "JWT_AUDIENCE": AUDIENCE,
    "JWT_TYPE": "at+jwt",
}

NOW = int(time.time())
HEADER: dict[str, object] = {"alg": "HS256", "typ": "at+jwt"}
CLAIMS: dict[str, object] = {
    "iss": ISSUER,
    "aud": AUDIENCE,
    "sub": "ada",
    "jti": "1",
    "iat": NOW,
    "exp": NOW + 3600,
}
GOOD = sign(HEADER, CLAIMS, SECRET)
UNSIGNED = GOOD.rpartition(b".")[0]
PAYLOAD = encode(CLAIMS)

# A key that would be empty if it were read from a file.
EMPTY_KEY = {"kid": "../../../../../../dev/null"}


def header(**changes: object) -> bytes:
    """Return a token that is valid except for its header."""
    return sign(HEADER | changes, CLAIMS, SECRET)


def claims(**changes: object) -> bytes:
    """Return a token that is valid except for its claims."""
    return sign(HEADER, CLAIMS | changes, SECRET)


def without(name: str) -> bytes:
    """Return a token that is valid except for a missing claim."""
    return sign(HEADER, {key: value for key, value in CLAIMS.items() if key != name}, SECRET)


HOSTILE = {
    # No signature
    **{
        f"alg {alg!r} {end!r}": encode(HEADER | {"alg": alg}) + b"." + PAYLOAD + end
        for alg in ["none", "None", "NONE", "nOnE", "none ", "", None]
        for end in [b".", b"." + encode(b"x")]
    },
    "no alg": encode({"typ": "at+jwt"}) + b"." + PAYLOAD + b".",
    "alg none, two segments": encode(HEADER | {"alg": "none"}) + b"." + PAYLOAD,
    "signature removed": UNSIGNED + b".",
    "two segments": UNSIGNED,
    "empty secret": sign(HEADER, CLAIMS, b""),
    "guessed secret": sign(HEADER, CLAIMS, b"secret"),
    "placeholder": sign(HEADER, CLAIMS, b"change-me"),
    # Another algorithm
    "alg HS512": sign(HEADER | {"alg": "HS512"}, CLAIMS, SECRET, "sha512"),
    "alg HS384": sign(HEADER | {"alg": "HS384"}, CLAIMS, SECRET, "sha384"),
    "alg hs256": header(alg="hs256"),
    "alg list": header(alg=["HS256"]),
    "alg object": header(alg={"HS256": True}),
    "alg RS256": header(alg="RS256"),
    # kid
    "kid path": sign(HEADER | EMPTY_KEY, CLAIMS, b""),
    "kid path with a newline": sign(HEADER | EMPTY_KEY, CLAIMS, b"\n"),
    "kid SQL": sign(HEADER | {"kid": "x' UNION SELECT 'key' --"}, CLAIMS, b"key"),
    "kid command": sign(HEADER | {"kid": "x|/bin/true"}, CLAIMS, b""),
    "kid URL": sign(HEADER | {"kid": "http://127.0.0.1:1/key"}, CLAIMS, b""),
    "kid number": header(kid=1),
    "kid null": header(kid=None),
    "kid list": header(kid=["1"]),
    "kid of 5 kB": sign(HEADER | {"kid": "x" * 5000}, CLAIMS, b""),
    # Keys in the token
    "jwk": sign(HEADER | {"jwk": {"kty": "oct", "k": "a2V5"}}, CLAIMS, b"key"),
    "jku": sign(HEADER | {"jku": "http://127.0.0.1:1/jwks.json"}, CLAIMS, b"key"),
    "x5u": sign(HEADER | {"x5u": "http://127.0.0.1:1/key.pem"}, CLAIMS, b"key"),
    "x5c": sign(HEADER | {"x5c": ["a2V5"]}, CLAIMS, b"key"),
    # Extensions
    "crit": header(crit=["exp"]),
    "crit empty": header(crit=[]),
    "crit b64": header(crit=["b64"], b64=False),
    "crit b64 true": header(crit=["b64"], b64=True),
    "b64": header(b64=False),
    # Another type
    "typ JWT": header(typ="JWT"),
    "typ missing": sign({"alg": "HS256"}, CLAIMS, SECRET),
    "typ null": header(typ=None),
    "typ dpop+jwt": header(typ="dpop+jwt"),
    "typ list": header(typ=["at+jwt"]),
    # Time
    "expired": claims(exp=NOW - 60),
    "expired long ago": claims(exp=0),
    "expired before 1970": claims(exp=-1),
    "exp text": claims(exp="tomorrow"),
    "exp list": claims(exp=[NOW + 3600]),
    "exp NaN": claims(exp=float("nan")),
    "exp infinite": claims(exp=float("inf")),
    "not yet valid": claims(nbf=NOW + 3600),
    "nbf text": claims(nbf="now"),
    "issued tomorrow": claims(iat=NOW + 86400),
    "iat text": claims(iat="now"),
    # For another audience, by another issuer, without a subject
    **{f"no {name}": without(name) for name in CLAIMS},
    **{f"{name} null": claims(**{name: None}) for name in CLAIMS},
    "iss other": claims(iss="https://id.example.com.evil.example"),
    "iss prefix": claims(iss="https://id.example.co"),
    "iss list": claims(iss=[ISSUER]),
    "aud other": claims(aud="https://other.example.com"),
    "aud others": claims(aud=["https://other.example.com", ""]),
    "aud empty": claims(aud=[]),
    "aud object": claims(aud={AUDIENCE: True}),
    "sub empty": claims(sub=""),
    "sub number": claims(sub=1),
    "jti number": claims(jti=1),
    # Damaged
    "truncated": GOOD[:-1],
    "truncated to a third": GOOD[: len(GOOD) // 3],
    "header flipped": bytes([GOOD[0] ^ 1]) + GOOD[1:],
    "payload flipped": GOOD.replace(
        PAYLOAD, PAYLOAD[:40] + bytes([PAYLOAD[40] ^ 1]) + PAYLOAD[41:]
    ),
    "signature flipped": GOOD[:-10] + bytes([GOOD[-10] ^ 1]) + GOOD[-9:],
    "upper case": GOOD.upper(),
    "padded": GOOD + b"=",
    "four segments": GOOD + b".x",
    "five segments": b"a.b.c.d.e",
    "dots": b"..",
    "comma": GOOD + b"," + GOOD,
    "in quotes": b'"' + GOOD + b'"',
    "header no JSON": sign(b"{", CLAIMS, SECRET),
    "header list": sign([], CLAIMS, SECRET),
    "header deep": sign(b"[" * 5000, CLAIMS, SECRET),
    "header not UTF-8": sign(b"\xff\xfe", CLAIMS, SECRET),
    "payload no JSON": sign(HEADER, b"{", SECRET),
    "payload list": sign(HEADER, [], SECRET),
    "payload deep": sign(HEADER, b"[" * 5000, SECRET),
    "payload not UTF-8": sign(HEADER, b"\xff\xfe", SECRET),
    "not UTF-8": b"\xff\xfe.\xff\xfe.\xff\xfe",
    "NUL encoded": b"%00",
    "20 kB": claims(padding="x" * 15_000),
    "100 kB": b"x" * 100_000,
    "100 kB of dots": b"." * 100_000,
    "100 kB, signed": claims(padding="x" * 75_000),
}


def bearer(token: bytes, scheme: bytes = b"Bearer ") -> tuple[bytes, bytes]:
    """Return the header that sends a token."""
    return b"Authorization", scheme + token


HOSTILE_HEADERS: dict[str, Headers] = {
    **{name: [bearer(token)] for name, token in HOSTILE.items()},
    "no token": [bearer(b"", b"Bearer")],
    "two spaces, no token": [bearer(b"", b"Bearer  ")],
    "twice the same": [bearer(GOOD), bearer(GOOD)],
    "a bad one, then a good one": [bearer(b"x"), bearer(GOOD)],
    "a good one, then a bad one": [bearer(GOOD), bearer(b"x")],
    "another scheme, then a good one": [bearer(b"eDp5", b"Basic "), bearer(GOOD)],
    "scheme twice": [bearer(GOOD, b"Bearer Bearer ")],
    "folded": [bearer(GOOD[:20] + b"\r\n " + GOOD[20:])],
}
ANONYMOUS: dict[str, Headers] = {
    "no header": [],
    "another scheme": [bearer(GOOD, b"Basic ")],
    "no scheme": [bearer(GOOD, b"")],
    "scheme with a tab": [bearer(GOOD, b"Bearer\t")],
    "cookie": [(b"Cookie", b"access_token=" + GOOD)],
    "another header": [(b"X-Authorization", b"Bearer " + GOOD)],
}


is_subprotocol = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+").fullmatch


@pytest.fixture(scope="module")
def project(install: Bake) -> Path:
    """Return a project that verifies tokens, for HTTP and WebSocket routes."""
    project = install(jwt="verify", use_request_logging=True, use_gzip=False)
    with (project / "app" / "main.py").open("a", encoding="utf-8") as main:
        main.write(
            "\n\nfrom fastapi import WebSocket\n\n\n"
            '@app.websocket("/socket")\n'
            "async def serve(websocket: WebSocket) -> None:\n"
            "    await websocket.accept()\n"
            "    await websocket.send_text(websocket.user.display_name)\n"
            "    async for _ in websocket.iter_text():\n"
            "        pass\n"
        )
    return project


@pytest.fixture(scope="module")
def service(project: Path) -> Iterator[Service]:
    """Serve the project with a secret that the tests know."""
    with serving(project, JWT_SECRET_KEY=SECRET.decode(), **PRODUCTION) as service:
        yield service


def test_there_are_many(service: Service) -> None:
    assert len(HOSTILE_HEADERS) >= 60


def test_a_valid_token_is_accepted(service: Service) -> None:
    for scheme in [b"Bearer ", b"bearer ", b"BEARER  "]:
        response = ask(service, b"/users/me", bearer(GOOD, scheme))
        assert response.status == 200
        assert json.loads(response.body) == {"id": "ada", "username": "ada", "scopes": []}


@pytest.mark.parametrize("name", HOSTILE_HEADERS)
def test_a_hostile_token_is_rejected_quickly(name: str, service: Service, project: Path) -> None:
    headers = HOSTILE_HEADERS[name]
    responses = [ask(service, b"/users/me", *headers) for _ in range(3)]
    for response in responses:
        if b"uvicorn" in response.body or response.body.startswith(b"Invalid HTTP request"):
            assert response.status == 400  # no HTTP
            return
        assert response.status == 401
        assert b'www-authenticate: Bearer error="invalid_token"' in response.head
        assert json.loads(response.body)["error"]["type"] == "unauthorized"
    assert min(response.seconds for response in responses) < 0.05
    # Also by a route that does not require a user.
    assert ask(service, b"/", *headers).status == 401
    log = (project / "uvicorn.log").read_bytes()
    assert b"refused a token: " in log.splitlines()[-2]
    for _, value in headers:
        token = value.split()[-1]
        assert len(token) < 10 or token[:100] not in log


@pytest.mark.parametrize("name", ANONYMOUS)
def test_a_request_without_a_bearer_token_is_anonymous(name: str, service: Service) -> None:
    response = ask(service, b"/users/me", *ANONYMOUS[name])
    assert response.status == 401
    assert b"www-authenticate: Bearer\r\n" in response.head + b"\r\n"


def test_tokens_in_the_query_are_ignored(service: Service) -> None:
    for name in [b"access_token", b"token", b"Authorization"]:
        assert ask(service, b"/users/me?" + name + b"=" + GOOD).status == 401


# uvicorn does not respond to handshakes with longer headers.
@pytest.mark.parametrize("name", [name for name, token in HOSTILE.items() if len(token) < 8000])
def test_a_hostile_token_is_rejected_for_websockets(name: str, service: Service) -> None:
    token = HOSTILE[name]
    assert ask(service, b"/socket", *handshake(bearer(token))).status == 401
    if is_subprotocol(token):
        headers = handshake((b"Sec-WebSocket-Protocol", b"bearer, " + token))
        assert ask(service, b"/socket", *headers).status == 401


def test_a_websocket_is_accepted_with_the_token_as_a_subprotocol(service: Service) -> None:
    headers = handshake((b"Sec-WebSocket-Protocol", b"bearer, " + GOOD))
    response = ask(service, b"/socket", *headers)
    assert response.status == 101
    assert b"sec-websocket-protocol: bearer\r\n" in response.head.lower() + b"\r\n"
    assert GOOD not in response.head


def test_public_keys_are_not_accepted_as_secrets(project: Path, tmp_path: Path) -> None:
    project = copied(project, tmp_path / "service")
    key, other = make_rsa_key(), make_rsa_key()
    jwks = json.dumps({"keys": [key.jwk("1")]}).encode()
    fetched: list[str] = []

    class Issuer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            fetched.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(jwks)

        def log_message(self, *args: object) -> None:
            pass

    env = project / ".env"
    lines = env.read_text(encoding="utf-8").splitlines(keepends=True)
    env.write_text("".join(line for line in lines if "JWT_SECRET_KEY" not in line))
    with HTTPServer(("127.0.0.1", 0), Issuer) as issuer:
        thread = threading.Thread(target=issuer.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{issuer.server_port}/jwks.json"
        try:
            with serving(project, JWT_JWKS_URL=url, **PRODUCTION) as service:
                rs256 = HEADER | {"alg": "RS256", "kid": "1"}
                good = key.sign(rs256, CLAIMS)
                assert ask(service, b"/users/me", bearer(good)).status == 200
                hs256 = HEADER | {"kid": "1"}
                pem = key.pem()
                hostile = [
                    *(sign(hs256, CLAIMS, secret) for secret in [pem, pem.strip(), jwks, b""]),
                    sign(hs256, CLAIMS, json.dumps(key.jwk("1")).encode()),
                    sign(rs256, CLAIMS, pem),
                    other.sign(rs256, CLAIMS),
                    other.sign(rs256 | {"kid": "2"}, CLAIMS),
                    other.sign(rs256 | {"jwk": other.jwk("1")}, CLAIMS),
                    other.sign(rs256 | {"jku": url, "kid": "../1"}, CLAIMS),
                    key.sign(HEADER | {"alg": "RS256"}, CLAIMS),
                    key.sign(rs256 | {"typ": "JWT"}, CLAIMS),
                    key.sign(rs256, CLAIMS | {"exp": NOW - 60}),
                    encode(rs256 | {"alg": "none"}) + b"." + PAYLOAD + b".",
                    good[:-1],
                ]
                for token in [*hostile, *hostile]:
                    response = ask(service, b"/users/me", bearer(token))
                    assert response.status == 401
                    assert response.seconds < 0.5
                assert ask(service, b"/users/me", bearer(good)).status == 200
        finally:
            issuer.shutdown()
            thread.join()
    # Once, although many tokens named unknown keys.
    assert fetched == ["/jwks.json"]
