"""Items: an example of a resource that is stored in the database and belongs to users.

A user sees the items that they created; an admin sees all items, also those without an owner. For
anybody else an item does not exist: every query has the condition of `_visible_to`, so the response
is a 404, which does not reveal that there is such an item.

`TransactionMiddleware` commits the session of a request if the response succeeds, and rolls it
back otherwise, so no route commits. A route that responds to an error of the database, such as a
duplicate name, calls `flush` to send its statements before it returns.
"""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, HTTPException, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, StringConstraints
from sqlalchemy import ColumnElement, select, true
from sqlalchemy.exc import IntegrityError

from app.api.dependencies import DbSession
from app.auth.dependencies import CurrentUser
from app.auth.tokens import TokenUser
from app.db.errors import is_unique_violation
from app.db.models import BIGINT_MAX
from app.db.owned_items import OwnedItem

# A user with one of these scopes is an admin of items.
ADMIN_SCOPES = {"admin", "items:admin"}

router = APIRouter(prefix="/items", tags=["items"])

ItemId = Annotated[int, Path(ge=1, le=BIGINT_MAX)]

# Not every database accepts U+0000 in text.
Name = Annotated[
    str,
    StringConstraints(
        strip_whitespace=True, min_length=1, max_length=100, pattern=r"^[^\x00]*[^\s\x00][^\x00]*$"
    ),
]
Description = Annotated[str, StringConstraints(max_length=1000, pattern=r"^[^\x00]*$")]


class ItemIn(BaseModel):
    """The values of an item that a client sets.

    `name` is unique among the items of all users. White space around it is removed.
    """

    name: Name
    description: Description = ""


class ItemOut(BaseModel):
    """An item. The service sets `id` and `created_at`."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    name: str
    description: str
    created_at: datetime


class ItemPage(BaseModel):
    """One page of items, sorted by `id`.

    `next` is the value of `after` that requests the next page. It is null on the last page.
    """

    items: list[ItemOut]
    next: int | None


@router.get("")
async def list_items(
    session: DbSession,
    user: CurrentUser,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    after: Annotated[int, Query(ge=0, le=BIGINT_MAX)] = 0,
) -> ItemPage:
    """Return up to `limit` of the user's items whose `id` is greater than `after`.

    The scope `items:admin` or `admin` returns the items of all users.
    """
    # Unlike an offset, a condition on the primary key is fast on every page.
    query = select(OwnedItem).where(OwnedItem.id > after, _visible_to(user))
    items = (await session.scalars(query.order_by(OwnedItem.id).limit(limit + 1))).all()
    page = items[:limit]
    return ItemPage(
        items=[ItemOut.model_validate(item) for item in page],
        next=page[-1].id if len(items) > limit else None,
    )


@router.post("", status_code=201)
async def create_item(
    data: ItemIn, session: DbSession, user: CurrentUser, request: Request, response: Response
) -> ItemOut:
    """Create an item that belongs to the user. The `Location` header of the response contains its path.

    Responds with 409 if an item with this name already exists.
    """
    item = OwnedItem(**data.model_dump(), owner=user.identity)
    session.add(item)
    await _flush(session)
    response.headers["Location"] = request.url_for("read_item", item_id=item.id).path
    return ItemOut.model_validate(item)


@router.get("/{item_id}")
async def read_item(item_id: ItemId, session: DbSession, user: CurrentUser) -> ItemOut:
    """Return an item. Responds with 404 if it does not exist or belongs to another user."""
    return ItemOut.model_validate(await _get(session, user, item_id))


@router.put("/{item_id}")
async def replace_item(
    item_id: ItemId, data: ItemIn, session: DbSession, user: CurrentUser
) -> ItemOut:
    """Replace the name and the description of an item.

    Responds with 404 if the item does not exist or belongs to another user, and with 409 if another
    item has this name.
    """
    item = await _get(session, user, item_id)
    item.name = data.name
    item.description = data.description
    await _flush(session)
    return ItemOut.model_validate(item)


@router.delete("/{item_id}", status_code=204)
async def delete_item(item_id: ItemId, session: DbSession, user: CurrentUser) -> None:
    """Delete an item. Responds with 404 if it does not exist or belongs to another user."""
    await session.delete(await _get(session, user, item_id))
    await session.flush()


def _visible_to(user: TokenUser) -> ColumnElement[bool]:
    if ADMIN_SCOPES.intersection(user.scopes):
        return true()
    return OwnedItem.owner == user.identity


async def _get(session: DbSession, user: TokenUser, item_id: int) -> OwnedItem:
    query = select(OwnedItem).where(OwnedItem.id == item_id, _visible_to(user))
    item = await session.scalar(query)
    if item is None:
        raise HTTPException(404, "Item not found")
    return item


async def _flush(session: DbSession) -> None:
    try:
        await session.flush()
    except IntegrityError as error:
        if is_unique_violation(error):
            raise HTTPException(409, "An item with this name already exists") from None
        raise
