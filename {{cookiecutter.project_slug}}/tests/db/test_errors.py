import sqlite3
from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from app.db.errors import is_busy, is_unavailable


class DriverError(Exception):
    """An error as drivers raise it, with their attributes."""

    def __init__(self, **attributes: object) -> None:
        vars(self).update(attributes)


def make(kind: type[Any] = OperationalError, lost: bool = False, **attributes: object) -> Any:
    return kind("SELECT 1", {}, DriverError(**attributes), connection_invalidated=lost)


@pytest.mark.parametrize(
    ("error", "busy", "unavailable"),
    [
        (PoolTimeout(), True, False),
        (make(sqlite_errorname="SQLITE_BUSY"), True, False),
        (make(sqlite_errorname="SQLITE_BUSY_SNAPSHOT"), True, False),
        (make(sqlite_errorname="SQLITE_CANTOPEN"), False, True),
        (make(sqlite_errorname="SQLITE_ERROR"), False, False),
        (make(sqlstate=None), False, True),
        (make(sqlstate="57P01", lost=True), False, True),
        (make(sqlstate="57014"), False, False),
        (make(IntegrityError, sqlstate="23505"), False, False),
        (sqlite3.OperationalError("no SQLAlchemy"), False, False),
        (ValueError(), False, False),
    ],
)
def test_kinds(error: Exception, busy: bool, unavailable: bool) -> None:
    assert (is_busy(error), is_unavailable(error)) == (busy, unavailable)
