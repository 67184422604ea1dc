"""Passwords, as hashes that are slow to guess."""

import os
from base64 import b64encode
from unicodedata import normalize

from anyio import CapacityLimiter, to_thread
from fastapi import HTTPException
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

from app.auth.issue import JWTSettings

# Hashes at a time: each takes a core, and `ARGON2_MEMORY_COST` of memory.
SLOTS = min(os.cpu_count() or 1, 4)

# How many may wait for their turn. That is some seconds: whoever comes later would not stay.
QUEUE = 100


class Passwords:
    """Hashes and verifies passwords in threads, a few at a time.

    Source: https://cheatsheetseries.owasp.org/cheatsheets/Password_Storage_Cheat_Sheet.html
    """

    def __init__(self, settings: JWTSettings) -> None:
        time_cost, memory_cost = settings.argon2_time_cost, settings.argon2_memory_cost
        lanes = settings.argon2_parallelism
        self.hasher = PasswordHash([Argon2Hasher(time_cost, memory_cost, lanes)])
        self.limiter = CapacityLimiter(SLOTS)
        # Of no password: to verify one against it costs the same, and fails.
        salt, digest = (b64encode(os.urandom(size)).decode().rstrip("=") for size in (16, 32))
        self.dummy = f"$argon2id$v=19$m={memory_cost},t={time_cost},p={lanes}${salt}${digest}"

    async def hash(self, password: str) -> str:
        """Return a hash."""
        return await self.run(self.hasher.hash, normalize("NFKC", password))

    async def verify(self, password: str, hashed: str | None) -> tuple[bool, str | None]:
        """Tell whether this is the password, and return a new hash where the costs have changed.

        Without a hash it is not, which takes as long to find out as with one.
        """
        password = normalize("NFKC", password)
        return await self.run(self.hasher.verify_and_update, password, hashed or self.dummy)

    async def run[T, *Ts](self, function: Callable[[*Ts], T], *args: *Ts) -> T:
        if self.limiter.statistics().tasks_waiting >= QUEUE:
            raise HTTPException(503, "Try again later", headers={"Retry-After": "5"})
        return await to_thread.run_sync(function, *args, limiter=self.limiter)
