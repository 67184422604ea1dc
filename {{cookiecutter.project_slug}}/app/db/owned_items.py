"""Items that belong to users."""

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from app.db.models import Item


class OwnedItem(Item):
    """An item and its owner, in one more column of the same table.

    `owner`: the id of the user who created the item, the `sub` of their access token. It is None
    for rows that were there before there were users.
    """

    # In a model of your own, add this column to the model itself.
    owner: Mapped[str | None] = mapped_column(String(255), index=True)
