"""Items: how a route, a dependency and the transaction meet.

The session of a request is committed when the answer turns out well and rolled back when it does
not (`app/middleware/transaction.py`), so no route commits. A route that wants to answer for what
the database says, such as a name that is taken, sends its statements with `flush`.
"""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, HTTPException, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, StringConstraints
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from app.api.dependencies import DbSession
from app.db.errors import is_unique_violation
from app.db.models import BIGINT_MAX, Item

router = APIRouter(prefix="/items", tags=["items"])

ItemId = Annotated[int, Path(ge=1, le=BIGINT_MAX)]

# No database takes U+0000 in a text everywhere.
Name = Annotated[
    str,
    StringConstraints(
        strip_whitespace=True, min_length=1, max_length=100, pattern=r"^[^\x00]*[^\s\x00][^\x00]*$"
    ),
]
Description = Annotated[str, StringConstraints(max_length=1000, pattern=r"^[^\x00]*$")]


class ItemIn(BaseModel):
    """What a client says of an item. Space around the name is removed."""

    name: Name
    description: Description = ""


class ItemOut(BaseModel):
    """An item."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    name: str
    description: str
    created_at: datetime


class ItemPage(BaseModel):
    """Items by their id. `next` is the `after` of the next page; null on the last one."""

    items: list[ItemOut]
    next: int | None


@router.get("")
async def list_items(
    session: DbSession,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    after: Annotated[int, Query(ge=0, le=BIGINT_MAX)] = 0,
) -> ItemPage:
    """List the items behind the one whose id is `after`. However many there are, a page is fast."""
    query = select(Item).where(Item.id > after).order_by(Item.id).limit(limit + 1)
    items = (await session.scalars(query)).all()
    page = items[:limit]
    return ItemPage(
        items=[ItemOut.model_validate(item) for item in page],
        next=page[-1].id if len(items) > limit else None,
    )


@router.post("", status_code=201)
async def create_item(
    data: ItemIn, session: DbSession, request: Request, response: Response
) -> ItemOut:
    """Create an item."""
    item = Item(**data.model_dump())
    session.add(item)
    await _flush(session)
    response.headers["Location"] = request.url_for("read_item", item_id=item.id).path
    return ItemOut.model_validate(item)


@router.get("/{item_id}")
async def read_item(item_id: ItemId, session: DbSession) -> ItemOut:
    """Read an item."""
    return ItemOut.model_validate(await _get(session, item_id))


@router.put("/{item_id}")
async def replace_item(item_id: ItemId, data: ItemIn, session: DbSession) -> ItemOut:
    """Replace what a client said of an item."""
    item = await _get(session, item_id)
    item.name = data.name
    item.description = data.description
    await _flush(session)
    return ItemOut.model_validate(item)


@router.delete("/{item_id}", status_code=204)
async def delete_item(item_id: ItemId, session: DbSession) -> None:
    """Delete an item."""
    await session.delete(await _get(session, item_id))
    await session.flush()


async def _get(session: DbSession, item_id: int) -> Item:
    item = await session.get(Item, item_id)
    if item is None:
        raise HTTPException(404, "There is no such item")
    return item


async def _flush(session: DbSession) -> None:
    try:
        await session.flush()
    except IntegrityError as error:
        if is_unique_violation(error):
            raise HTTPException(409, "There is an item of this name already") from None
        raise
