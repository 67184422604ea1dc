"""The public keys of an issuer, from where it publishes them."""

import asyncio
import json
import logging
from collections.abc import Callable, Sequence
from time import monotonic
from urllib.request import Request, urlopen

import jwt
from anyio import to_thread

from app.auth.tokens import Key, KeysUnavailable

# Seconds until the keys are fetched again. Those that are there serve meanwhile, and for as long
# as the issuer is down.
LIFETIME = 300.0

# Seconds between two fetches, however many tokens name keys that nobody knows.
PAUSE = 10.0

TIMEOUT = 5.0
MAX_SIZE = 1_048_576

logger = logging.getLogger(__name__)


def fetch(url: str) -> bytes:
    """Return what is at `url`."""
    # Some issuers are behind a firewall that refuses Python's own name.
    request = Request(url, headers={"Accept": "application/json", "User-Agent": "jwks"})
    with urlopen(request, timeout=TIMEOUT) as response:
        body: bytes = response.read(MAX_SIZE + 1)
    if len(body) > MAX_SIZE:
        raise ValueError("the key set is too large")
    return body


class JWKSKeys:
    """The keys at `url` for `algorithm`, fetched when they are first needed.

    No request waits for keys to be renewed, except one whose token names a new one.
    Source: RFC 7517
    """

    def __init__(
        self,
        url: str,
        algorithm: str,
        *,
        fetch: Callable[[str], bytes] = fetch,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.url = url
        self.algorithm = algorithm
        self.fetch = fetch
        self.clock = clock
        self.keys: dict[str, jwt.PyJWK] = {}
        self.fresh_until = 0.0
        self.next_fetch = 0.0
        self.lock = asyncio.Lock()
        self.renewal: asyncio.Task[None] | None = None

    async def find(self, kid: str | None) -> Sequence[Key]:
        """Return the key of this name. Raises KeysUnavailable as long as there never was any."""
        if kid not in self.keys:
            await self.renew()
        elif self.clock() >= self.fresh_until and (self.renewal is None or self.renewal.done()):
            self.renewal = asyncio.create_task(self.renew())
        if not self.keys:
            raise KeysUnavailable
        return [self.keys[kid]] if kid in self.keys else []

    async def renew(self) -> None:
        """Fetch the keys, unless that was done just now."""
        async with self.lock:
            if self.clock() < self.next_fetch:
                return
            try:
                self.keys = await to_thread.run_sync(self.load)
                self.fresh_until = self.clock() + LIFETIME
            except Exception:
                # Whatever is wrong over there, the keys that we have are as good as they were.
                logger.warning("could not fetch the keys of the issuer", exc_info=True)
            finally:
                self.next_fetch = self.clock() + PAUSE

    def load(self) -> dict[str, jwt.PyJWK]:
        keys = {}
        for key in json.loads(self.fetch(self.url))["keys"]:
            is_ours = key.get("alg", self.algorithm) == self.algorithm
            if is_ours and key.get("use", "sig") == "sig" and "kid" in key:
                try:
                    keys[key["kid"]] = jwt.PyJWK(key, self.algorithm)
                except jwt.PyJWTError:
                    continue  # of another kind
        if not keys:
            raise ValueError(f"the issuer has no key for {self.algorithm}")
        return keys
