"""What is at the root of the service."""

from fastapi import APIRouter, Request
from pydantic import BaseModel

router = APIRouter(tags=["root"])


class Root(BaseModel):
    """The name of the service, and where its documentation is, if it is served."""

    name: str
    docs: str | None


@router.get("/")
async def read_root(request: Request) -> Root:
    """Say which service this is."""
    return Root(name=request.app.title, docs=request.app.docs_url)
