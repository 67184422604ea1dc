"""The root of the service."""

from fastapi import APIRouter, Request
from pydantic import BaseModel

router = APIRouter(tags=["root"])


class Root(BaseModel):
    """The name of the service and the path of its documentation, null if that is turned off."""

    name: str
    docs: str | None


@router.head("/", include_in_schema=False)
@router.get("/")
async def read_root(request: Request) -> Root:
    """Return the name of this service and the path of its documentation."""
    return Root(name=request.app.title, docs=request.app.docs_url)
