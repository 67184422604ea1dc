"""Passwords, as hashes that are slow to guess."""

import os
from base64 import b64encode
from typing import Annotated
from unicodedata import normalize

from anyio import CapacityLimiter, to_thread
from fastapi import HTTPException
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher
from pydantic import AfterValidator, StringConstraints

from app.auth.issue import JWTSettings

# Hashes at a time: each takes a core, and `ARGON2_MEMORY_COST` of memory.
SLOTS = min(os.cpu_count() or 1, 4)

# How many may wait for their turn, which takes them some seconds. Others would not wait longer.
QUEUE = 100

MAX_BYTES = 512


def _normalize(password: str) -> str:
    # As one types it on another system, where an umlaut may be two characters.
    password = normalize("NFKC", password)
    if len(password.encode()) > MAX_BYTES:
        raise ValueError(f"has more than {MAX_BYTES} bytes")
    return password


Password = Annotated[str, StringConstraints(max_length=128), AfterValidator(_normalize)]
"""What somebody may try as a password."""

NewPassword = Annotated[
    str, StringConstraints(min_length=8, max_length=128), AfterValidator(_normalize)
]
"""What somebody may choose as one: length is what counts. Source: NIST SP 800-63B, 3.1.1.2"""


class Passwords:
    """Hashes and verifies passwords in threads, a few at a time.

    Source: https://cheatsheetseries.owasp.org/cheatsheets/Password_Storage_Cheat_Sheet.html
    """

    def __init__(self, settings: JWTSettings) -> None:
        time_cost, memory_cost = settings.argon2_time_cost, settings.argon2_memory_cost
        lanes = settings.argon2_parallelism
        self.hasher = PasswordHash([Argon2Hasher(time_cost, memory_cost, lanes)])
        self.limiter = CapacityLimiter(SLOTS)
        # Of no password: to verify one against it takes as long, and fails.
        salt, digest = (b64encode(os.urandom(size)).decode().rstrip("=") for size in (16, 32))
        self.dummy = f"$argon2id$v=19$m={memory_cost},t={time_cost},p={lanes}${salt}${digest}"

    async def hash(self, password: str) -> str:
        """Return a hash of a password."""
        self.check_queue()
        return await to_thread.run_sync(self.hasher.hash, password, limiter=self.limiter)

    async def verify(self, password: str, hashed: str | None) -> tuple[bool, str | None]:
        """Tell whether `hashed` is of this password, and hash it anew where the costs changed.

        None is of no password, which takes as long to find out.
        """
        self.check_queue()
        return await to_thread.run_sync(
            self.hasher.verify_and_update, password, hashed or self.dummy, limiter=self.limiter
        )

    def check_queue(self) -> None:
        if self.limiter.statistics().tasks_waiting >= QUEUE:
            raise HTTPException(503, "Try again later", headers={"Retry-After": "5"})
