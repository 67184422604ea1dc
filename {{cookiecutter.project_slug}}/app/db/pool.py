"""The settings that do not depend on which database it is."""

from pydantic import Field

from app.core.settings import CoreSettings


class PoolSettings(CoreSettings):
    """The connections of one process.

    `DATABASE_POOL_SIZE` (10): connections of one process. A request waits for a free one.
    `DATABASE_POOL_TIMEOUT` (10): seconds that a request waits before it gets a 503.
    `DATABASE_ECHO` (false): log every statement, with its values while `DEBUG` is on.
    """

    database_pool_size: int = Field(default=10, ge=1)
    database_pool_timeout: float = Field(default=10, gt=0)
    database_echo: bool = False
