"""What the errors of a database say."""

from sqlalchemy.exc import IntegrityError


def is_unique_violation(error: IntegrityError) -> bool:
    """Tell whether a value is there already, rather than missing or referred to.

    The code of the SQL standard, or SQLite's own name. Source: ISO/IEC 9075, SQLSTATE 23505.
    """
    return (
        getattr(error.orig, "sqlstate", None) == "23505"
        or getattr(error.orig, "sqlite_errorname", None) == "SQLITE_CONSTRAINT_UNIQUE"
    )
