"""Hostile access tokens, sent to a service that runs in production. None is accepted."""

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Bake
from tests.support.provider import provider
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
    **{f"no {name}": without(name) for name in ["iss", "aud", "sub", "exp"]},
    **{f"{name} null": claims(**{name: None}) for name in CLAIMS},
    "iss other": claims(iss="https://id.example.com.evil.example"),
    "iss prefix": claims(iss="https://id.example.co"),
    "iss list": claims(iss=[ISSUER]),
    "iss object": claims(iss={ISSUER: 1}),
    "iss number": claims(iss=1),
    "iss with a slash": claims(iss=ISSUER + "/"),
    "aud other": claims(aud="https://other.example.com"),
    "aud others": claims(aud=["https://other.example.com", ""]),
    "aud empty": claims(aud=[]),
    "aud object": claims(aud={AUDIENCE: True}),
    "aud number": claims(aud=1),
    "aud nested": claims(aud=[[AUDIENCE]]),
    "aud with a slash": claims(aud=AUDIENCE + "/"),
    "client_id in place of aud": claims(aud="other", client_id=AUDIENCE),
    "azp in place of aud": claims(aud=["other"], azp=AUDIENCE),
    "client_id without aud": sign(
        HEADER, {"client_id": AUDIENCE, **{k: v for k, v in CLAIMS.items() if k != "aud"}}, SECRET
    ),
    "sub empty": claims(sub=""),
    "sub number": claims(sub=1),
    "sub list": claims(sub=["ada"]),
    "sub object": claims(sub={"ada": 1}),
    "sub of two lines": claims(sub="ada\nadmin"),
    "sub with NUL": claims(sub="ada\0"),
    "sub of 256 characters": claims(sub="a" * 256),
    "sub with half a character": claims(sub="\ud800"),
    "name with half a character": claims(preferred_username="\ud800"),
    "claim with half a character": claims(**{"\ud800": 1}),
    "claims nested deeply": claims(deep=json.loads("[" * 200 + "]" * 200)),
    # Not for an API
    "ID token of Keycloak": claims(typ="ID"),
    "ID token of Cognito": claims(token_use="id"),
    "ID token with a nonce": claims(nonce="n"),
    "ID token with a hash": claims(at_hash="h"),
    "ID token with a hash of the code": claims(c_hash="h"),
    "logout token": claims(events={"http://schemas.openid.net/event/backchannel-logout": {}}),
    "typ logout+jwt": header(typ="logout+jwt"),
    "typ secevent+jwt": header(typ="secevent+jwt"),
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


def test_a_good_token_is_accepted(service: Service) -> None:
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


def test_a_token_that_differs_in_one_byte_is_another_token(service: Service) -> None:
    good = claims(sub="remembered")
    for _ in range(2):
        assert ask(service, b"/users/me", bearer(good)).status == 200
    for place in range(0, len(good), 7):
        token = good[:place] + (b"A" if good[place] != ord("A") else b"B") + good[place + 1 :]
        assert ask(service, b"/users/me", bearer(token)).status == 401
    assert ask(service, b"/users/me", bearer(good)).status == 200


def test_a_remembered_token_expires(service: Service) -> None:
    # The leeway is ten seconds.
    token = claims(exp=int(time.time()) - 7)
    response = ask(service, b"/users/me", bearer(token))
    assert response.status == 200
    deadline = time.monotonic() + 10
    while response.status == 200 and time.monotonic() < deadline:
        time.sleep(0.1)
        response = ask(service, b"/users/me", bearer(token))
    assert response.status == 401


@pytest.mark.parametrize("name", ["scope", "scp"])
def test_scopes_of_any_shape_are_no_reason_to_fail(name: str, service: Service) -> None:
    shapes = [None, True, 1, 1.5, {}, {"admin": 1}, [1], ["admin", 1], [["admin"]], [None], "\t "]
    for shape in shapes:
        response = ask(service, b"/users/me", bearer(claims(**{name: shape})))
        assert response.status == 200
        assert json.loads(response.body)["scopes"] == []


def test_a_long_token_is_accepted(service: Service) -> None:
    groups = [f"{number:036}" for number in range(280)]
    token = claims(groups=groups)
    assert 14_000 < len(token) < 16_384
    assert ask(service, b"/users/me", bearer(token)).status == 200


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
    with provider() as issuer:
        url = issuer.publish("/jwks.json", {"keys": [key.jwk("1")]})
        jwks = issuer.documents["/jwks.json"].body
        with serving(project, JWT_JWKS_URL=url, **PRODUCTION) as service:
            rs256 = HEADER | {"alg": "RS256", "kid": "1"}
            good = key.sign(rs256, CLAIMS)
            assert ask(service, b"/users/me", bearer(good)).status == 200
            # There is one key of its algorithm.
            nameless = key.sign(HEADER | {"alg": "RS256"}, CLAIMS)
            assert ask(service, b"/users/me", bearer(nameless)).status == 200
            hs256 = HEADER | {"kid": "1"}
            pem = key.pem()
            hostile = [
                *(sign(hs256, CLAIMS, secret) for secret in [pem, pem.strip(), jwks, b""]),
                sign(hs256, CLAIMS, json.dumps(key.jwk("1")).encode()),
                sign(rs256, CLAIMS, pem),
                other.sign(rs256, CLAIMS),
                other.sign(HEADER | {"alg": "RS256"}, CLAIMS),
                other.sign(rs256 | {"jwk": other.jwk("1")}, CLAIMS),
                other.sign(rs256 | {"jku": url}, CLAIMS),
                key.sign(rs256 | {"alg": "PS256"}, CLAIMS),
                key.sign(rs256 | {"alg": "ES256"}, CLAIMS),
                key.sign(rs256 | {"typ": "JWT"}, CLAIMS),
                key.sign(rs256, CLAIMS | {"exp": NOW - 60}),
                encode(rs256 | {"alg": "none"}) + b"." + PAYLOAD + b".",
                good[:-1],
            ]
            # The issuer may have published these keys since, which only another request can tell.
            unknown = [other.sign(rs256 | {"kid": kid}, CLAIMS) for kid in ["2", "../1", ""]]
            for token in [*hostile, *unknown, *hostile]:
                response = ask(service, b"/users/me", bearer(token))
                assert response.status == (503 if token in unknown else 401)
                assert (b"retry-after: " in response.head.lower()) == (token in unknown)
                assert response.seconds < 0.5
            assert ask(service, b"/users/me", bearer(good)).status == 200
        # However many tokens named unknown keys.
        assert issuer.requested == ["/jwks.json"]
