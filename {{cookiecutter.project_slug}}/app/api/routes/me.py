"""The user of a request."""

from fastapi import APIRouter
from pydantic import BaseModel

from app.auth.dependencies import CurrentUser

router = APIRouter(prefix="/users", tags=["users"])


class Me(BaseModel):
    """The user that the access token identifies.

    `id` identifies the user. `username` is a name to show, which may change or belong to several
    users.
    """

    id: str
    username: str
    scopes: list[str]


@router.get("/me")
async def read_me(user: CurrentUser) -> Me:
    """Return the user that the access token identifies, and what the token allows."""
    return Me(id=user.identity, username=user.display_name, scopes=list(user.scopes))
