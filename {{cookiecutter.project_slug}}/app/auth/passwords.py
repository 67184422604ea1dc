"""Passwords: which ones a user may choose, and their hashes."""

import logging
import os
from base64 import b64encode
from contextlib import suppress
from typing import Annotated
from unicodedata import category, normalize

from anyio import CapacityLimiter, to_thread
from argon2 import PasswordHasher
from argon2.exceptions import VerificationError, VerifyMismatchError
from fastapi import HTTPException
from pydantic import AfterValidator, StringConstraints

from app.auth.common_passwords import is_common
from app.auth.issue import JWTSettings
from app.auth.models import User

# Concurrent hashes. Each uses a core, and `ARGON2_MEMORY_COST` KiB of memory.
SLOTS = min(os.cpu_count() or 1, 4)

# Requests that may wait to be hashed, which takes a few seconds. Further requests are rejected.
QUEUE = 100

# A password is the only factor here; with a second one, 8 characters are enough.
# Source: NIST SP 800-63B-4, section 3.1.1.2
MIN_LENGTH = 15

MAX_BYTES = 512

logger = logging.getLogger(__name__)


def _normalize(password: str) -> str:
    # Systems encode the same typed text differently: an umlaut may be one or two code points.
    password = normalize("NFKC", password)
    if len(password.encode()) > MAX_BYTES:
        raise ValueError(f"must have at most {MAX_BYTES} bytes")
    return password


def _check_new(password: str) -> str:
    if any(category(character) == "Cc" for character in password):
        raise ValueError("must not contain control characters")
    check_not_common(password)
    return password


def check_not_common(password: str, *names: str) -> None:
    """Raise a ValueError if a password is common, or consists of `names` or common words."""
    if is_common(password, *names):
        raise ValueError("is easy to guess: add words that are not common and not your name")


Password = Annotated[str, StringConstraints(max_length=128), AfterValidator(_normalize)]
"""A password in a login attempt. It may be shorter than a new password."""

NewPassword = Annotated[
    str,
    StringConstraints(min_length=MIN_LENGTH, max_length=128),
    AfterValidator(_normalize),
    AfterValidator(_check_new),
]
"""A new password: long and not common. Which kinds of characters it contains does not matter.

Source: NIST SP 800-63B-4, section 3.1.1.2
"""


class Passwords:
    """Hashes and verifies passwords in threads, with limited concurrency.

    Source: https://cheatsheetseries.owasp.org/cheatsheets/Password_Storage_Cheat_Sheet.html
    """

    def __init__(self, settings: JWTSettings) -> None:
        time_cost, memory_cost = settings.argon2_time_cost, settings.argon2_memory_cost
        lanes = settings.argon2_parallelism
        self.hasher = PasswordHasher(time_cost, memory_cost, lanes)
        self.limiter = CapacityLimiter(SLOTS)
        # A dummy hash, so that rejecting an unknown user takes as long as rejecting a wrong
        # password.
        salt, digest = (b64encode(os.urandom(size)).decode().rstrip("=") for size in (16, 32))
        costs = f"m={memory_cost},t={time_cost},p={lanes}"
        self.dummy = f"$argon2id$v=19${costs}${salt}${digest}"

    async def hash(self, password: str) -> str:
        """Return the hash of a password. Raises a 503 if too many requests are waiting."""
        self.check_queue()
        return await to_thread.run_sync(self.hasher.hash, password, limiter=self.limiter)

    async def verify(self, password: str, user: User | None) -> tuple[bool, str | None]:
        """Return whether `password` is the user's, and a new hash of it if the costs changed.

        `user`: None for an unknown user, which takes as long and never matches. Raises a 503 if too
        many requests are waiting.
        """
        self.check_queue()
        return await to_thread.run_sync(self._verify, password, user, limiter=self.limiter)

    def _verify(self, password: str, user: User | None) -> tuple[bool, str | None]:
        hashed = user.password_hash if user else self.dummy
        try:
            self.hasher.verify(hashed, password)
        except VerifyMismatchError:
            return False, None
        except (VerificationError, ValueError):
            # Without the value, which may be a password that an import did not hash.
            logger.error("user %s: the stored password hash is not valid", user and user.id)
            with suppress(VerifyMismatchError):
                self.hasher.verify(self.dummy, password)
            return False, None
        needs_rehash = self.hasher.check_needs_rehash(hashed)
        return True, self.hasher.hash(password) if needs_rehash else None

    def check_queue(self) -> None:
        if self.limiter.statistics().tasks_waiting >= QUEUE:
            raise HTTPException(503, "Try again later", headers={"Retry-After": "5"})
