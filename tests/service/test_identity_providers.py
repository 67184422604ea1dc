"""Tokens of identity providers, sent to a service with the lines of docs/identity-providers.md."""

import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from tests.conftest import Bake
from tests.support.provider import Provider, provider
from tests.support.service import Service, copied, serving
from tests.support.template import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("providers")]

DOCUMENT = (ROOT / "docs" / "identity-providers.md").read_text(encoding="utf-8")
NOW = int(time.time())
TIMES = {"iat": NOW, "exp": NOW + 3600}

RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
KEYS: dict[str, Any] = {
    "RS256": RSA,
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
}
JWKS = {
    "RS256": dict(RSAAlgorithm.to_jwk(RSA.public_key(), as_dict=True)),
    "ES256": dict(ECAlgorithm.to_jwk(KEYS["ES256"].public_key(), as_dict=True)),
    "EdDSA": dict(OKPAlgorithm.to_jwk(KEYS["EdDSA"].public_key(), as_dict=True)),
}
Claims = Mapping[str, Any]
UUID = "f81d4fae-7dec-11d0-a765-00a0c91e6bf6"


@dataclass(frozen=True)
class Shape:
    """The tokens of a provider.

    `section`, `block`: the position of its lines in the document. `user`, `client`: the claims of
    access tokens, with the scopes that they give; `iss` and the audience come from the lines.
    `id_token`: the claims of an ID token, whose audience is that of the service. `key`: how the
    provider publishes its key. `typ`: the type in the header, or None. `refused_as`: what the log
    says of the ID token, or None if it is accepted.
    """

    section: str
    user: tuple[Claims, list[str]]
    id_token: Claims
    client: tuple[Claims, list[str]] | None = None
    block: int = 0
    algorithm: str = "RS256"
    typ: str | None = "JWT"
    key: Claims = field(default_factory=lambda: {"use": "sig", "alg": "RS256"})
    audience: Callable[[str], Any] = str
    refused_as: str | None = "is an ID token"


SHAPES = {
    "Keycloak": Shape(
        "Keycloak",
        user=(
            {
                "auth_time": NOW,
                "jti": "onrtac:9d0dc6d9-2a5e-4a1a-8cf2-6d1d7e6a3a57",
                "sub": UUID,
                "typ": "Bearer",
                "azp": "my-app",
                "sid": UUID,
                "acr": "1",
                "allowed-origins": ["https://app.example.com"],
                "realm_access": {"roles": ["offline_access", "editor"]},
                "resource_access": {"account": {"roles": ["view-profile"]}},
                "scope": "openid email profile",
                "email_verified": True,
                "name": "Ada Lovelace",
                "preferred_username": "ada",
            },
            ["openid", "email", "profile", "offline_access", "editor"],
        ),
        client=(
            {
                "jti": "trrtcc:9d0dc6d9-2a5e-4a1a-8cf2-6d1d7e6a3a57",
                "sub": UUID,
                "typ": "Bearer",
                "azp": "my-client",
                "acr": "1",
                "realm_access": {"roles": ["offline_access"]},
                "scope": "email profile",
                "clientHost": "192.0.2.1",
                "preferred_username": "service-account-my-client",
                "clientAddress": "192.0.2.1",
                "client_id": "my-client",
            },
            ["email", "profile", "offline_access"],
        ),
        id_token={
            "auth_time": NOW,
            "jti": UUID,
            "sub": UUID,
            "typ": "ID",
            "azp": "my-app",
            "sid": UUID,
            "acr": "1",
            "preferred_username": "ada",
        },
        audience=lambda audience: [audience, "account"],
        key={"use": "sig", "alg": "RS256", "x5c": ["MIIC"], "x5t": "abc"},
    ),
    "Keycloak 24": Shape(
        "Keycloak",
        user=({"sub": UUID, "typ": "Bearer", "nonce": "n", "scope": "openid"}, ["openid"]),
        id_token={"sub": UUID, "typ": "ID", "nonce": "n", "at_hash": "h"},
    ),
    "Auth0": Shape(
        "Auth0",
        user=(
            {
                "sub": "auth0|123456",
                "azp": "my_client_id",
                "scope": "openid profile items:read",
                "permissions": ["items:write"],
            },
            ["openid", "profile", "items:read", "items:write"],
        ),
        client=(
            {
                "sub": "my_client_id@clients",
                "azp": "my_client_id",
                "scope": "items:read",
                "gty": "client-credentials",
            },
            ["items:read"],
        ),
        id_token={"nickname": "ada", "sub": "auth0|123456", "sid": "s", "nonce": "n"},
        audience=lambda audience: [audience, "https://my-tenant.eu.auth0.com/userinfo"],
        key={"use": "sig", "alg": "RS256", "x5t": "abc", "x5c": ["MIIC"]},
    ),
    "Auth0, RFC 9068": Shape(
        "Auth0",
        user=(
            {"sub": "auth0|1", "client_id": "c", "jti": "j", "scope": "items:read"},
            ["items:read"],
        ),
        client=(
            {"sub": "c@clients", "client_id": "c", "jti": "j", "scope": "items:read"},
            ["items:read"],
        ),
        id_token={"sub": "auth0|1", "nonce": "n"},
        typ="at+jwt",
    ),
    "Entra ID": Shape(
        "Microsoft Entra ID",
        user=(
            {
                "nbf": NOW,
                "aio": "opaque",
                "azp": UUID,
                "azpacr": "1",
                "name": "Ada Lovelace",
                "oid": UUID,
                "preferred_username": "ada@example.com",
                "rh": "opaque",
                "scp": "Items.Read Items.Write",
                "sub": "pairwise",
                "tid": UUID,
                "uti": "opaque",
                "ver": "2.0",
            },
            ["Items.Read", "Items.Write"],
        ),
        client=(
            {
                "nbf": NOW,
                "aio": "opaque",
                "azp": UUID,
                "azpacr": "1",
                "oid": UUID,
                "rh": "opaque",
                "roles": ["Items.Read.All"],
                "sub": UUID,
                "tid": UUID,
                "uti": "opaque",
                "ver": "2.0",
            },
            ["Items.Read.All"],
        ),
        id_token={
            "nbf": NOW,
            "aio": "opaque",
            "name": "Ada Lovelace",
            "nonce": "n",
            "oid": UUID,
            "preferred_username": "ada@example.com",
            "sub": "pairwise",
            "tid": UUID,
            "uti": "opaque",
            "ver": "2.0",
        },
        # The keys of Entra ID do not state their algorithm.
        key={"use": "sig", "x5t": "abc", "x5c": ["MIIC"]},
    ),
    "Entra ID, version 1": Shape(
        "Microsoft Entra ID",
        block=1,
        user=(
            {
                "nbf": NOW,
                "acr": "1",
                "aio": "opaque",
                "amr": ["pwd"],
                "appid": UUID,
                "appidacr": "0",
                "ipaddr": "192.0.2.1",
                "oid": UUID,
                "rh": "opaque",
                "scp": "user_impersonation",
                "sub": "pairwise",
                "tid": UUID,
                "unique_name": "ada@example.com",
                "upn": "ada@example.com",
                "uti": "opaque",
                "ver": "1.0",
            },
            ["user_impersonation"],
        ),
        client=(
            {
                "nbf": NOW,
                "appid": UUID,
                "appidacr": "1",
                "idp": "https://sts.windows.net/tenant/",
                "oid": UUID,
                "roles": ["Items.Read.All"],
                "sub": UUID,
                "tid": UUID,
                "uti": "opaque",
                "ver": "1.0",
            },
            ["Items.Read.All"],
        ),
        id_token={"amr": ["pwd"], "nonce": "n", "oid": UUID, "sub": "pairwise", "ver": "1.0"},
        key={"use": "sig", "x5t": "abc", "x5c": ["MIIC"]},
    ),
    "Cognito": Shape(
        "Amazon Cognito",
        user=(
            {
                "sub": UUID,
                "device_key": UUID,
                "cognito:groups": ["admin"],
                "version": 2,
                "origin_jti": UUID,
                "event_id": UUID,
                "token_use": "access",
                "scope": "openid aws.cognito.signin.user.admin",
                "auth_time": NOW,
                "jti": UUID,
                "username": "ada",
            },
            ["openid", "aws.cognito.signin.user.admin", "admin"],
        ),
        client=(
            {
                "sub": "1example23456789",
                "token_use": "access",
                "scope": "my-api/items.read",
                "auth_time": NOW,
                "version": 2,
                "jti": UUID,
            },
            ["my-api/items.read"],
        ),
        id_token={
            "sub": UUID,
            "cognito:groups": ["admin"],
            "cognito:username": "ada",
            "origin_jti": UUID,
            "event_id": UUID,
            "token_use": "id",
            "auth_time": NOW,
            "jti": UUID,
        },
        typ=None,
    ),
    "Okta": Shape(
        "Okta",
        user=(
            {
                "ver": 1,
                "jti": "AT.0mP4JKAZX1iACIT4vbEDF7LpvDVjxypPMf0D7uX39RE",
                "cid": "0oabcdefg",
                "uid": "00ujmkLgagxeRrAg20g3",
                "scp": ["openid", "items:read"],
                "auth_time": NOW,
                "sub": "ada@example.com",
            },
            ["openid", "items:read"],
        ),
        client=(
            {
                "ver": 1,
                "jti": "AT.0mP4JKAZX1iACIT4vbEDF7LpvDVjxypPMf0D7uX39RE",
                "cid": "0oabcdefg",
                "scp": ["items:read"],
                "sub": "0oabcdefg",
            },
            ["items:read"],
        ),
        id_token={
            "sub": "00ujmkLgagxeRrAg20g3",
            "ver": 1,
            "jti": "ID.4eAWJOCMB3SX8XewDfVR",
            "amr": ["pwd"],
            "idp": "00oq6kcVwvrDY2YsS0g3",
            "auth_time": NOW,
            "at_hash": "preview_at_hash",
        },
        typ=None,
    ),
    "Supabase": Shape(
        "Supabase",
        user=(
            {
                "sub": UUID,
                "email": "ada@example.com",
                "phone": "",
                "app_metadata": {"provider": "email", "providers": ["email"]},
                "user_metadata": {},
                "role": "authenticated",
                "aal": "aal1",
                "amr": [{"method": "password", "timestamp": NOW}],
                "session_id": UUID,
                "is_anonymous": False,
            },
            ["authenticated"],
        ),
        id_token={"sub": UUID, "nonce": "n"},
        algorithm="ES256",
        key={"alg": "ES256", "key_ops": ["verify"], "ext": True},
    ),
    "Supabase, legacy secret": Shape(
        "Supabase",
        block=1,
        user=({"sub": UUID, "role": "authenticated", "session_id": UUID}, ["authenticated"]),
        id_token={"sub": UUID, "nonce": "n"},
        algorithm="HS256",
    ),
    "Clerk": Shape(
        "Clerk",
        user=(
            {
                "fva": [7, -1],
                "jti": "de8e2a1c1cbb6ff5a0f4",
                "nbf": NOW - 10,
                "o": {"id": "org_123", "rol": "admin", "slg": "org-slug"},
                "sid": "sess_2GaMqUCB3Sc1WNAkWuNzsnYVVEy",
                "sts": "active",
                "sub": "user_2PZCpVlEkm8mkjRzPgsQBtLgDhR",
                "v": 2,
            },
            ["admin"],
        ),
        id_token={"sub": "user_2PZCpVlEkm8mkjRzPgsQBtLgDhR", "nonce": "n", "at_hash": "h"},
    ),
    "Firebase": Shape(
        "Google and Firebase",
        user=(
            {
                "name": "Ada Lovelace",
                "auth_time": NOW,
                "user_id": "uid",
                "sub": "uid",
                "email": "ada@example.com",
                "email_verified": False,
                "roles": ["editor"],
                "firebase": {
                    "identities": {"email": ["ada@example.com"]},
                    "sign_in_provider": "password",
                },
            },
            ["editor"],
        ),
        id_token={"sub": "uid", "at_hash": "h"},
    ),
    "Google": Shape(
        "Google and Firebase",
        block=1,
        user=(
            {
                "azp": "client.apps.googleusercontent.com",
                "sub": "110169484474386276334",
                "email": "ada@example.com",
                "email_verified": True,
                "at_hash": "HK6E_P6Dh8Y93mRNtsDB1Q",
            },
            [],
        ),
        client=(
            {
                "azp": "112010400000000710080",
                "sub": "112010400000000710080",
                "email": "service@project.iam.gserviceaccount.com",
                "email_verified": True,
            },
            [],
        ),
        id_token={"sub": "110169484474386276334", "nonce": "n"},
        refused_as=None,
    ),
    "Zitadel": Shape(
        "Zitadel",
        user=(
            {
                "sub": "163840776835432705",
                "nbf": NOW,
                "jti": "163840776835432706",
                "client_id": "163840776835432345",
                "roles": ["editor"],
                "urn:zitadel:iam:org:project:roles": {"editor": {"1638": "example.com"}},
            },
            ["editor"],
        ),
        client=(
            {
                "sub": "345377791925026818",
                "nbf": NOW,
                "jti": "163840776835432706",
                "client_id": "service-user",
            },
            [],
        ),
        id_token={"sub": "163840776835432705", "amr": ["pwd"], "azp": "1", "at_hash": "h"},
        audience=lambda audience: [audience, "163840776835432345"],
    ),
}


def section_of(heading: str) -> str:
    """Return what the document says of a provider."""
    return DOCUMENT.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def lines(section: str, block: int) -> dict[str, str]:
    """Return the settings that the document says for a provider."""
    found = re.findall(r"^```ini\n(.*?)^```$", section_of(section), re.DOTALL | re.MULTILINE)[block]
    return dict(line.split("=", 1) for line in found.splitlines())


def at(running: Provider, url: str) -> str:
    """Return a URL of a provider as one of this machine, with the same path."""
    return running.url + urlsplit(url).path


@dataclass(frozen=True)
class Running:
    """A service with the lines of a provider, which is on this machine."""

    service: Service
    shape: Shape
    settings: Mapping[str, str]
    log: Path

    def token(self, claims: Claims) -> str:
        """Return a token of the provider."""
        audience = self.settings["JWT_AUDIENCE"]
        name = self.settings.get("JWT_AUDIENCE_CLAIM", "aud")
        value = self.shape.audience(audience) if name == "aud" else audience
        common = TIMES | {"iss": self.settings["JWT_ISSUER"], name: value}
        algorithm = self.shape.algorithm
        key = KEYS[algorithm] if algorithm in KEYS else self.settings["JWT_SECRET_KEY"]
        headers = {"typ": self.shape.typ, "kid": "key"}
        return jwt.encode(common | dict(claims), key, algorithm, headers=headers)

    def get(self, claims: Claims) -> tuple[int, Any]:
        """Send a token, and return the status and who the service says it is."""
        header = f"Bearer {self.token(claims)}"
        response = self.service.get("/users/me", Authorization=header)
        return response.status, response.json()


@contextmanager
def run(project: Path, shape: Shape) -> Iterator[Running]:
    """Serve a project as the document says, with the provider on this machine."""
    settings = lines(shape.section, shape.block)
    with provider() as running:
        issuer = at(running, settings["JWT_ISSUER"])
        path = urlsplit(settings.get("JWT_JWKS_URL", "")).path or "/keys"
        if shape.algorithm in JWKS:
            key = JWKS[shape.algorithm] | {"kid": "key"} | dict(shape.key)
            encryption = JWKS["RS256"] | {"kid": "other", "use": "enc", "alg": "RSA-OAEP"}
            running.publish(path, {"keys": [encryption, key]})
        if "JWT_JWKS_URL" in settings:
            settings["JWT_JWKS_URL"] = at(running, settings["JWT_JWKS_URL"])
        else:
            running.publish_metadata(issuer, running.url + path)
        settings["JWT_ISSUER"] = issuer
        with serving(project, **settings) as service:
            yield Running(service, shape, settings, project / "uvicorn.log")


@pytest.fixture(scope="module")
def installed(install: Bake) -> Path:
    """A project that verifies tokens, as it is generated."""
    return install(jwt="verify")


@pytest.fixture(scope="module", params=SHAPES)
def running(
    installed: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Running]:
    """The service for each provider in turn."""
    project = copied(installed, tmp_path_factory.mktemp("provider") / "service")
    with run(project, SHAPES[request.param]) as running:
        yield running


def test_tokens_of_users_and_of_machines_are_accepted(running: Running) -> None:
    for claims, scopes in filter(None, [running.shape.user, running.shape.client]):
        status, me = running.get(claims)
        assert (status, me["id"], me["scopes"]) == (200, claims["sub"], scopes)


def test_its_id_token_is_rejected(running: Running) -> None:
    status, body = running.get(running.shape.id_token)
    if running.shape.refused_as is None:
        assert running.settings["JWT_ACCEPT_ID_TOKENS"] == "true"
        assert status == 200
    else:
        assert (status, body["error"]["type"]) == (401, "unauthorized")
        assert running.shape.refused_as in running.log.read_text(encoding="utf-8")


def test_a_token_for_another_audience_is_rejected(running: Running) -> None:
    claims, _ = running.shape.user
    name = running.settings.get("JWT_AUDIENCE_CLAIM", "aud")
    assert running.get({**claims, name: "another"})[0] == 401
    assert running.get({**claims, "iss": "https://id.example.com"})[0] == 401


def test_every_section_is_tested_and_cites_its_provider() -> None:
    tested = {(shape.section, shape.block) for shape in SHAPES.values()}
    for section in re.findall(r"^## (.*)$", DOCUMENT, re.MULTILINE):
        text = section_of(section)
        assert "](https://" in text
        assert {(section, block) for block in range(text.count("```ini"))} <= tested


def test_the_env_of_a_project_needs_two_lines(installed: Path, tmp_path: Path) -> None:
    project = copied(installed, tmp_path / "service")
    env = project / ".env"
    text = env.read_text(encoding="utf-8")
    with provider() as running:
        issuer = running.url + "/realms/my-realm"
        running.publish("/keys", {"keys": [JWKS["EdDSA"] | {"kid": "key"}]})
        running.publish_metadata(issuer, running.url + "/keys")
        for name, value in {"JWT_ISSUER": issuer, "JWT_AUDIENCE": "my-api"}.items():
            text, count = re.subn(rf"^{name}=.*$", f"{name}={value}", text, flags=re.MULTILINE)
            assert count == 1
        env.write_text(text, encoding="utf-8")
        claims = TIMES | {"iss": issuer, "aud": "my-api", "sub": "ada"}
        token = jwt.encode(claims, KEYS["EdDSA"], "EdDSA", headers={"kid": "key"})
        with serving(project) as service:
            assert service.get("/users/me", Authorization=f"Bearer {token}").status == 200
            assert running.requested == [
                "/realms/my-realm/.well-known/openid-configuration",
                "/keys",
            ]


def test_the_start_says_what_to_set(installed: Path, tmp_path: Path) -> None:
    project = copied(installed, tmp_path / "service")
    with serving(project) as service:
        response = service.get("/users/me", Authorization="Bearer x")
        assert response.status == 401
        assert response.json()["error"]["message"] == "Invalid access token"
        log = (project / "uvicorn.log").read_text(encoding="utf-8")
    assert "set it and JWT_AUDIENCE to those of your identity provider" in log
