"""Those who call."""

from fastapi import APIRouter
from pydantic import BaseModel

from app.auth.dependencies import CurrentUser

router = APIRouter(prefix="/users", tags=["users"])


class Me(BaseModel):
    """The caller, as the access token has it."""

    id: str
    username: str
    scopes: list[str]


@router.get("/me")
async def read_me(user: CurrentUser) -> Me:
    """Say who calls."""
    return Me(id=user.identity, username=user.display_name, scopes=user.scopes)
