"""Tokens that this service issues."""

from pydantic import Field, SecretStr, ValidationInfo, field_validator

from app.auth.tokens import REMEDY, SecretKeys, TokenSettings, Verifier

ALGORITHM = "HS256"
TYPE = "at+jwt"


class JWTSettings(TokenSettings):
    """How tokens are issued."""

    jwt_secret_key: SecretStr = Field(default=SecretStr(""), validate_default=True)

    @field_validator("jwt_secret_key")
    @classmethod
    def _check_jwt_secret_key_is_set(cls, secret: SecretStr, info: ValidationInfo) -> SecretStr:
        if not secret:
            raise ValueError(f"set the secret that signs tokens; {REMEDY}")
        return secret


def create_verifier(settings: JWTSettings) -> Verifier:
    """Believe our own tokens."""
    return Verifier(settings, SecretKeys(settings), algorithm=ALGORITHM, types=[TYPE])
