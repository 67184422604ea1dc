"""The public keys of an issuer."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from time import monotonic
from typing import Any

from app.auth.fetch import FetchError
from app.auth.jwk import read_key
from app.auth.keys import Key, KeysUnavailable

# Seconds until the keys are fetched again. No request waits for that: the previous keys stay in
# use meanwhile, and for as long as the issuer does not respond.
LIFETIME = 300.0

# Seconds between two fetches, however many tokens name unknown keys.
PAUSE = 10.0

# Seconds for a whole fetch: names, connections, metadata and keys.
TIMEOUT = 5.0

# How many unknown keys are remembered.
MAX_ABSENT = 100

logger = logging.getLogger(__name__)


class JWKSKeys:
    """The keys of the JWK set that `load` returns, fetched when a token first needs one.

    `algorithm`: the only one to accept, or empty to accept the one of each key.
    Source: RFC 7517; OpenID Connect Core, section 10.1
    """

    def __init__(
        self,
        load: Callable[[], Awaitable[dict[str, Any]]],
        algorithm: str = "",
        *,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.load = load
        self.algorithm = algorithm
        self.clock = clock
        self.keys: list[Key] = []
        self.named: dict[tuple[str | None, str], list[Key]] = {}
        self.absent: set[tuple[str | None, str]] = set()
        self.fresh_until = 0.0
        self.next_fetch = 0.0
        self.renewal: asyncio.Task[bool] | None = None

    async def find(self, kid: str | None, algorithm: str) -> Sequence[Key]:
        """Return the keys that may have signed a token. Waits for a fetch if there is none yet.

        Raises KeysUnavailable if one may have been published since the last fetch, which was only
        a moment ago or failed.
        """
        if self.clock() >= self.fresh_until:
            self.renew()
        found = self.match(kid, algorithm)
        if found or self.is_published(kid):
            return found
        if renewal := self.renew():
            # The fetch goes on if this request is cancelled: others wait for it as well.
            if await asyncio.shield(renewal):
                if not (found := self.match(kid, algorithm)):
                    self.remember_absent(kid, algorithm)
                return found
        elif (kid, algorithm) in self.absent:
            return []
        raise KeysUnavailable(self.next_fetch - self.clock())

    def match(self, kid: str | None, algorithm: str) -> list[Key]:
        # By far the most tokens name a key.
        if named := self.named.get((kid, algorithm)):
            return named
        usable = [key for key in self.keys if algorithm in key.algorithms]
        if kid is None and len(usable) == 1:
            return usable
        return [key for key in usable if key.kid is None]

    def is_published(self, kid: str | None) -> bool:
        # Then no newer set of keys is needed to tell that they do not fit the token.
        return bool(self.keys) if kid is None else any(key.kid == kid for key in self.keys)

    def renew(self) -> asyncio.Task[bool] | None:
        """Return the fetch that is under way, or None if it is too early for another one."""
        if self.renewal is None or self.renewal.done():
            if self.clock() < self.next_fetch:
                return None
            self.renewal = asyncio.create_task(self.fetch())
        return self.renewal

    async def fetch(self) -> bool:
        """Replace the keys, and return whether that was possible."""
        try:
            async with asyncio.timeout(TIMEOUT):
                keys = self.read(await self.load())
        except TimeoutError:
            logger.warning("cannot fetch the keys of the issuer within %s seconds", TIMEOUT)
            return False
        except Exception as error:
            logger.warning("cannot fetch the keys of the issuer: %s", error)
            return False
        finally:
            self.next_fetch = self.clock() + PAUSE
        for key in self.keys:
            if key not in keys:
                for algorithm in key.algorithms:
                    self.remember_absent(key.kid, algorithm)
        self.keys = keys
        self.named = defaultdict(list)
        for key in keys:
            for algorithm in key.algorithms:
                self.named[key.kid, algorithm].append(key)
        self.fresh_until = self.clock() + LIFETIME
        return True

    def read(self, document: dict[str, Any]) -> list[Key]:
        published = document.get("keys")
        candidates = published if isinstance(published, list) else []
        keys = [key for jwk in candidates if (key := read_key(jwk, self.algorithm))]
        if not keys:
            raise FetchError(f"no key for {self.algorithm or 'signatures'} in the JWK set")
        return keys

    def remember_absent(self, kid: str | None, algorithm: str) -> None:
        # So that a token with this key is rejected, while one with a new key is to be sent again.
        if len(self.absent) >= MAX_ABSENT:
            self.absent.clear()
        self.absent.add((kid, algorithm))
