"""Remembers tokens that were verified."""

from collections.abc import Mapping
from hashlib import sha256
from sys import getsizeof
from typing import Any, NamedTuple

from app.auth.keys import Key
from app.auth.tokens import TokenUser

MAX_BYTES = 16_777_216


class VerifiedToken(NamedTuple):
    """What verifying a token found. `expires`: seconds since the epoch, with the leeway."""

    user: TokenUser
    kid: str | None
    algorithm: str
    key: Key
    expires: int


class TokenCache:
    """Verified tokens. The oldest make room when they take more than `max_bytes` of memory.

    The caller of `get` checks that the entry has not expired and that its key is still valid.
    """

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self.max_bytes = max_bytes
        self.size = 0
        self.entries: dict[bytes, tuple[VerifiedToken, int]] = {}

    def get(self, token: bytes) -> VerifiedToken | None:
        """Return what is known about exactly this token."""
        # By its digest, so that memory holds no token that a client could use.
        found = self.entries.get(sha256(token).digest())
        return found[0] if found else None

    def add(self, token: bytes, verified: VerifiedToken) -> None:
        """Remember a token."""
        self.discard(token)
        # The digest, the entry and its place in the dictionary take less than 500 bytes.
        size = 500 + _size_of(verified.user.claims) + _size_of(verified.user.scopes)
        self.entries[sha256(token).digest()] = verified, size
        self.size += size
        while self.size > self.max_bytes:
            _, oldest = self.entries.pop(next(iter(self.entries)))
            self.size -= oldest

    def discard(self, token: bytes) -> None:
        """Forget a token."""
        _, size = self.entries.pop(sha256(token).digest(), (None, 0))
        self.size -= size


def _size_of(value: Any) -> int:
    if isinstance(value, Mapping):
        # A mapping proxy does not tell the size of its dictionary.
        parts = [part for item in value.items() for part in item]
        return getsizeof(dict(value)) + getsizeof(value) + sum(map(_size_of, parts))
    if isinstance(value, tuple):
        return getsizeof(value) + sum(map(_size_of, value))
    return getsizeof(value)
