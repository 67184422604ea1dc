"""The errors of databases, told apart by their codes."""

from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeout


def is_unique_violation(error: IntegrityError) -> bool:
    """Tell whether a value is taken, rather than missing or referred to.

    Source: ISO/IEC 9075, SQLSTATE 23505; https://sqlite.org/rescode.html
    """
    return (
        getattr(error.orig, "sqlstate", None) == "23505"
        or getattr(error.orig, "sqlite_errorname", None) == "SQLITE_CONSTRAINT_UNIQUE"
    )


def is_busy(error: Exception) -> bool:
    """Tell whether no connection was free, or another one wrote, for as long as settings allow."""
    return isinstance(error, PoolTimeout) or (
        isinstance(error, DBAPIError)
        and getattr(error.orig, "sqlite_errorname", "").startswith("SQLITE_BUSY")
    )


def is_unavailable(error: Exception) -> bool:
    """Tell whether the database cannot be reached, or the connection to it was lost."""
    return isinstance(error, DBAPIError) and (
        error.connection_invalidated
        # No SQLSTATE: the error is one of the client library, which did not reach the server.
        or getattr(error.orig, "sqlstate", "") is None
        or getattr(error.orig, "sqlite_errorname", None) == "SQLITE_CANTOPEN"
    )
