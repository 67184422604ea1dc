"""Password hashing with Argon2id."""

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

# Concurrent hashes. Each uses a core, and `ARGON2_MEMORY_COST` KiB of memory.
SLOTS = min(os.cpu_count() or 1, 4)

# Requests that may wait to be hashed, which takes a few seconds. Further requests are rejected.
QUEUE = 100

MAX_BYTES = 512


def _normalize(password: str) -> str:
    # Systems encode the same typed text differently: an umlaut may be one or two code points.
    password = normalize("NFKC", password)
    if len(password.encode()) > MAX_BYTES:
        raise ValueError(f"must have at most {MAX_BYTES} bytes")
    return password


Password = Annotated[str, StringConstraints(max_length=128), AfterValidator(_normalize)]
"""A password in a login attempt. It may be shorter than a new password."""

NewPassword = Annotated[
    str, StringConstraints(min_length=8, max_length=128), AfterValidator(_normalize)
]
"""A new password. It has a minimum length but needs no special characters.

Source: NIST SP 800-63B, 3.1.1.2
"""


class Passwords:
    """Hashes and verifies passwords in threads, with limited concurrency.

    Source: https://cheatsheetseries.owasp.org/cheatsheets/Password_Storage_Cheat_Sheet.html
    """

    def __init__(self, settings: JWTSettings) -> None:
        time_cost, memory_cost = settings.argon2_time_cost, settings.argon2_memory_cost
        lanes = settings.argon2_parallelism
        self.hasher = PasswordHash([Argon2Hasher(time_cost, memory_cost, lanes)])
        self.limiter = CapacityLimiter(SLOTS)
        # A dummy hash, so that rejecting an unknown user takes as long as rejecting a wrong
        # password.
        salt, digest = (b64encode(os.urandom(size)).decode().rstrip("=") for size in (16, 32))
        self.dummy = f"$argon2id$v=19$m={memory_cost},t={time_cost},p={lanes}${salt}${digest}"

    async def hash(self, password: str) -> str:
        """Return the hash of a password. Raises a 503 if too many requests are waiting."""
        self.check_queue()
        return await to_thread.run_sync(self.hasher.hash, password, limiter=self.limiter)

    async def verify(self, password: str, hashed: str | None) -> tuple[bool, str | None]:
        """Return whether `hashed` is the hash of `password`, and a new hash if the costs changed.

        `hashed`: None for an unknown user, which takes as long and never matches. Raises a 503 if
        too many requests are waiting.
        """
        self.check_queue()
        return await to_thread.run_sync(
            self.hasher.verify_and_update, password, hashed or self.dummy, limiter=self.limiter
        )

    def check_queue(self) -> None:
        if self.limiter.statistics().tasks_waiting >= QUEUE:
            raise HTTPException(503, "Try again later", headers={"Retry-After": "5"})
