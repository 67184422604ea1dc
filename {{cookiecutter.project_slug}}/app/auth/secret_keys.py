"""Secrets that sign and verify tokens."""

from collections.abc import Sequence
from hashlib import blake2b

from app.auth.keys import Key
from app.auth.tokens import TokenSettings

ALGORITHM = "HS256"


class SecretKeys:
    """The current secret and those that it replaced."""

    def __init__(self, settings: TokenSettings) -> None:
        secrets = [settings.jwt_secret_key, *settings.jwt_previous_secret_keys]
        values = [secret.get_secret_value().encode() for secret in secrets]
        self.keys = [Key(key_id(value), frozenset([ALGORITHM]), value) for value in values]

    async def find(self, kid: str | None, algorithm: str) -> Sequence[Key]:
        """Return the secret with this id, or all of them if the issuer uses ids of its own."""
        return [key for key in self.keys if key.kid == kid] or self.keys


def key_id(secret: bytes) -> str:
    """Return an id for a secret that does not reveal it."""
    return blake2b(secret, digest_size=8, person=b"kid").hexdigest()
