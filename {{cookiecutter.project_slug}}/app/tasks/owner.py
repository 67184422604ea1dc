"""Whose a task is."""

from starlette.authentication import BaseUser
from starlette.requests import Request


def find_owner(request: Request) -> str:
    """Return the id of the user who makes a request, or `""` for an anonymous user."""
    user: BaseUser | None = request.scope.get("user")
    return user.identity if user and user.is_authenticated else ""
