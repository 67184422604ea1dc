"""The keys that verify signatures, and where they come from."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True)
class Key:
    """A key, and the algorithms that it may be used with.

    `material`: what PyJWT takes, a public key or the bytes of a secret. The algorithms belong to
    the key, never to the token. Source: RFC 8725, section 3.1
    """

    kid: str | None
    algorithms: frozenset[str]
    material: Any


class Keys(Protocol):
    """Finds the keys that may have signed a token."""

    async def find(self, kid: str | None, algorithm: str) -> Sequence[Key]:
        """Return the keys for the `kid` and the `alg` in the header of a token.

        Raises KeysUnavailable if the keys are not known at the moment.
        """


class KeysUnavailable(Exception):
    """The keys of the issuer are not known. `retry_after`: seconds until the next attempt."""

    def __init__(self, retry_after: float) -> None:
        super().__init__()
        self.retry_after = retry_after
