"""What no pick owns: the core settings, and the types that picks build theirs from."""

import json
from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, SecretStr, ValidationError, field_validator
from pydantic_settings import NoDecode

# What `.env.example` holds in place of a secret. Refused wherever DEBUG is off.
PLACEHOLDER = "change-me"


def _split(value: object) -> object:
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        return json.loads(value)
    return [item for part in value.split(",") if (item := part.strip())]


def _upper(value: object) -> object:
    return value.upper() if isinstance(value, str) else value


StringList = Annotated[list[str], NoDecode, BeforeValidator(_split)]
"""A list from one variable: JSON, or separated by commas."""

SecretList = Annotated[list[SecretStr], NoDecode, BeforeValidator(_split)]
"""The same for values that must never be printed."""

LogLevel = Annotated[
    Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"], BeforeValidator(_upper)
]


class CoreSettings(BaseModel):
    """What every service has.

    `DEBUG` (false): logs for people, exception texts in a 500. Never in production.
    `LOG_LEVEL` (INFO). `DOCS_ENABLED` (true): serve `/docs`, `/redoc` and `/openapi.json`.
    `API_PREFIX` (empty): before every route of `app/api` but `/` and health, such as `/api/v1`.
    """

    # First, so that the validators of the picks find it in `info.data`.
    debug: bool = False
    log_level: LogLevel = "INFO"
    docs_enabled: bool = True
    api_prefix: str = ""

    @field_validator("api_prefix")
    @classmethod
    def _check_api_prefix(cls, value: str) -> str:
        if value and (not value.startswith("/") or value.endswith("/")):
            raise ValueError("must start with a slash and not end with one, such as /api/v1")
        return value

    def risks(self) -> Iterator[str]:
        """Yield one line for each setting that is allowed, and unsafe in production all the same.

        The settings of a pick yield theirs, and then those of `super()`.
        """
        if self.debug:
            yield "DEBUG: shows the texts of exceptions to clients: set it to false"
        if self.docs_enabled:
            yield "DOCS_ENABLED: publishes the documentation: set it to false unless it is for all"


def describe(error: ValidationError) -> Iterator[str]:
    """Yield one line for each setting that is wrong: its variable and what to do, never its value."""
    for problem in error.errors(include_url=False, include_input=False):
        variable = ".".join(str(part) for part in problem["loc"]).upper()
        cause = problem.get("ctx", {}).get("error")
        yield f"{variable}: {cause or problem['msg']}"
