"""The core settings, and the types of which other modules build their settings."""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal, get_args, get_origin

from pydantic import (
    BaseModel,
    BeforeValidator,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import NoDecode, SettingsConfigDict

# In the project, whatever directory the service is started from. `ENV_FILE` names another file.
ENV_FILE = Path(os.environ.get("ENV_FILE") or Path(__file__).parents[2] / ".env")

SETTINGS_CONFIG = SettingsConfigDict(
    env_file=ENV_FILE,
    env_ignore_empty=True,
    enable_decoding=False,
    extra="ignore",
    hide_input_in_errors=True,
)

# Stands for a secret in `.env.example`. Rejected unless DEBUG is on.
PLACEHOLDER = "change-me"

# An IPv6 address starts with a bracket in a Host header, as a list does in JSON.
_starts_with_ipv6 = re.compile(r"\s*\[[0-9a-f:.]*:[0-9a-f:.]*\]", re.IGNORECASE).match


def is_weak(secret: str) -> bool:
    """Return whether a secret contains the placeholder, repeats itself or has few characters."""
    length = len(secret)
    repeats = any(
        secret == (secret[:size] * length)[:length] for size in range(1, min(16, length // 2 + 1))
    )
    return repeats or PLACEHOLDER in secret.lower() or len(set(secret)) < min(8, length // 4)


def _split(value: object) -> object:
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("[") and not _starts_with_ipv6(value):
        try:
            return json.loads(value)
        except ValueError:
            raise ValueError('must be JSON, such as ["a", "b"], or comma-separated: a,b') from None
    return [item for part in value.split(",") if (item := part.strip())]


def _upper(value: object) -> object:
    return value.upper() if isinstance(value, str) else value


StringList = Annotated[list[str], NoDecode, BeforeValidator(_split)]
"""A list in one variable: JSON, or separated by commas.

In `Settings` and the classes that it inherits, a plain `list[str]` is the same.
"""

SecretList = Annotated[list[SecretStr], NoDecode, BeforeValidator(_split)]
"""A `StringList` whose values are never printed."""

LogLevel = Annotated[
    Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"], BeforeValidator(_upper)
]


class CoreSettings(BaseModel):
    """The settings of every service.

    `DEBUG` (false): development mode, with readable logs and with exception messages in 500
    responses. Turn it off in production.
    `LOG_LEVEL` (INFO): the least severe level that is logged: `DEBUG`, `INFO`, `WARNING`, `ERROR`
    or `CRITICAL`.
    `DOCS_ENABLED` (true): serve `/docs`, `/redoc` and `/openapi.json`.
    `API_PREFIX` (none): the prefix of all routes except `/` and the health checks, such as
    `/api/v1`.
    """

    # First, so that the validators of all other settings find it in `info.data`.
    debug: bool = False
    log_level: LogLevel = "INFO"
    docs_enabled: bool = True
    api_prefix: str = ""

    @field_validator("*", mode="before")
    @classmethod
    def _decode(cls, value: object, info: ValidationInfo) -> object:
        # In place of pydantic-settings, which only takes JSON (`enable_decoding`).
        annotation = cls.model_fields[info.field_name or ""].annotation
        kinds = {get_origin(part) or part for part in (annotation, *get_args(annotation))}
        if dict in kinds and isinstance(value, str):
            return json.loads(value)
        return _split(value) if {list, set, tuple} & kinds else value

    @field_validator("api_prefix")
    @classmethod
    def _check_api_prefix(cls, value: str) -> str:
        if value and (not value.startswith("/") or value.endswith("/")):
            raise ValueError("must start with a slash and not end with one, such as /api/v1")
        return value

    def risks(self) -> Iterator[str]:
        """Yield one line per setting that is valid but unsafe in production.

        A subclass yields its own lines first, and then those of `super().risks()`.
        """
        if self.debug:
            yield "DEBUG: shows exception messages to clients; set it to false"


def describe(error: ValidationError) -> Iterator[str]:
    """Yield one line per invalid setting: the variable and what to do, but never its value."""
    for problem in error.errors(include_url=False, include_input=False):
        variable = ".".join(str(part) for part in problem["loc"]).upper()
        cause = problem.get("ctx", {}).get("error")
        yield f"{variable}: {cause or problem['msg']}"
