"""A real OpenID provider, in Node, and the flows by which clients and users get tokens from it."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPResponse
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import parse_qs, urlencode, urlsplit
from urllib.request import (
    HTTPCookieProcessor,
    HTTPRedirectHandler,
    ProxyHandler,
    Request,
    build_opener,
)

from tests.support.redis_server import unavailable
from tests.support.service import DEADLINE

PACKAGE = "oidc-provider@^9.13"
SECRET = "secret-of-the-tests"
AUDIENCE = "https://api.example.com"
CALLBACK = "http://127.0.0.1/callback"


class OpenIDServer:
    """A provider that runs; its clients are `app-RS256` and so on, by their algorithm."""

    def __init__(self, process: "subprocess.Popen[str]", issuer: str) -> None:
        self.process = process
        self.issuer = issuer

    def rotate(self) -> None:
        """Replace all keys."""
        assert self.process.stdin
        assert self.process.stdout
        print("rotate", file=self.process.stdin, flush=True)
        # It prints notices, too.
        assert "rotated\n" in iter(self.process.stdout.readline, "")

    def get_client_token(self, algorithm: str) -> str:
        """Return an access token by the client credentials grant."""
        form = {"grant_type": "client_credentials", "scope": "items:read", "resource": AUDIENCE}
        return str(self.request_token(algorithm, form)["access_token"])

    def log_in(self, algorithm: str, user: str, **parameters: str) -> dict[str, str]:
        """Return the tokens of a user by the authorization code grant: `access_token`, `id_token`.

        `parameters`: more of the authorization request, such as a nonce.
        """
        browser = Browser()
        query = {
            "client_id": f"app-{algorithm}",
            "response_type": "code",
            "redirect_uri": CALLBACK,
            "scope": "openid items:read",
            "resource": AUDIENCE,
            **parameters,
        }
        login = browser.open(f"{self.issuer}/auth?{urlencode(query)}")
        consent = browser.open(login, {"prompt": "login", "login": user, "password": "any"})
        callback = browser.open(consent, {"prompt": "consent"})
        code = parse_qs(urlsplit(callback).query)["code"][0]
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": CALLBACK}
        tokens = self.request_token(algorithm, form | {"resource": AUDIENCE})
        return {name: tokens[name] for name in ("access_token", "id_token")}

    def request_token(self, algorithm: str, form: dict[str, str]) -> Any:
        form |= {"client_id": f"app-{algorithm}", "client_secret": SECRET}
        with build_opener(ProxyHandler({})).open(
            f"{self.issuer}/token", urlencode(form).encode(), timeout=DEADLINE
        ) as response:
            return json.load(response)


class Browser(HTTPRedirectHandler):
    """Follows redirects with cookies, but for the one back to the client."""

    def __init__(self) -> None:
        self.open_url = build_opener(ProxyHandler({}), HTTPCookieProcessor(CookieJar()), self).open

    def open(self, url: str, form: dict[str, str] | None = None) -> str:
        """Open a page or submit its form, and return the address at which that ends."""
        data = urlencode(form).encode() if form else None
        try:
            with self.open_url(Request(url, data), timeout=DEADLINE) as response:
                assert isinstance(response, HTTPResponse)
                return response.url
        except HTTPError as error:
            with error:
                if error.status not in (302, 303):
                    raise
                return str(error.headers["Location"])

    def redirect_request(
        self, req: Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> Request | None:
        if newurl.startswith(CALLBACK):
            return None
        return super().redirect_request(req, fp, code, msg, headers, newurl)


@contextmanager
def openid_server(directory: Path) -> Iterator[OpenIDServer]:
    """Install and run a provider. Skips if Node or npm is missing, or npm cannot install it."""
    if not shutil.which("node") or not shutil.which("npm"):
        unavailable("node and npm are not installed")
    install = ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(directory), PACKAGE]
    installed = subprocess.run(install, capture_output=True, text=True, check=False)
    if installed.returncode:
        unavailable(f"npm cannot install {PACKAGE}: {installed.stderr[:200]}")
    program = directory / "server.mjs"
    shutil.copy(Path(__file__).with_name("openid_server.mjs"), program)
    pipe = subprocess.PIPE
    with subprocess.Popen(["node", program], stdin=pipe, stdout=pipe, text=True) as process:
        try:
            assert process.stdout
            issuer = process.stdout.readline().strip()
            assert issuer.startswith("http://127.0.0.1:")
            yield OpenIDServer(process, issuer)
        finally:
            process.kill()
