"""When a task runs by itself."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from typing import Any
from uuid import NAMESPACE_URL, uuid5

DAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]
# The name, the least and the greatest value of each field. Sunday is 0 or 7.
FIELDS = [
    ("minute", 0, 59),
    ("hour", 0, 23),
    ("day of the month", 1, 31),
    ("month", 1, 12),
    ("day of the week", 0, 7),
]

_item = re.compile(r"(?:\*|(\w+)(?:-(\w+))?)(?:/(\d+))?")


@dataclass(frozen=True)
class Schedule:
    """Run `function`, which has to be one of `TASKS`, at the times of a cron expression.

    `cron`: minute, hour, day of the month, month and day of the week (0 to 7, or names such as
    `mon`): `0 3 * * *`, or `*/15 8-17 * * mon-fri`. If both days are given, one of them has to
    match. `timezone`: UTC, or one such as `ZoneInfo("Europe/Berlin")`. Raises ValueError if `cron`
    is no such expression. Source: https://man7.org/linux/man-pages/man5/crontab.5.html
    """

    function: Callable[..., Any]
    cron: str
    args: Sequence[Any] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    timezone: tzinfo = UTC
    values: list[frozenset[int]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        parts = self.cron.lower().split()
        if len(parts) != len(FIELDS):
            raise ValueError(f"{self.cron!r}: give five fields, such as 0 3 * * *")
        values = []
        for part, (name, least, greatest) in zip(parts, FIELDS, strict=True):
            found: set[int] = set()
            for item in part.split(","):
                if not (more := _parse(item, least, greatest)):
                    raise ValueError(f"{self.cron!r}: {item!r} is no {name}")
                found.update(more)
            values.append(frozenset(found))
        object.__setattr__(self, "values", values)

    def is_due(self, minute: datetime) -> bool:
        """Return whether the task runs in this minute."""
        local = minute.astimezone(self.timezone)
        minutes, hours, days, months, weekdays = self.values
        is_day = local.day in days
        # Sunday is 7 here; with `*` and ranges, it can be 0 as well.
        is_weekday = not weekdays.isdisjoint({local.isoweekday(), local.isoweekday() % 7})
        _, _, day, _, weekday = self.cron.split()
        either = not day.startswith("*") and not weekday.startswith("*")
        return (
            local.minute in minutes
            and local.hour in hours
            and local.month in months
            and (is_day or is_weekday if either else is_day and is_weekday)
        )

    def task_id(self, name: str, minute: datetime) -> str:
        """Return an id that all processes give to the same run."""
        run = (name, self.cron, str(self.timezone), self.args, self.kwargs, minute.isoformat())
        return uuid5(NAMESPACE_URL, repr(run)).hex


def _parse(item: str, least: int, greatest: int) -> range:
    """Return the values of one item of a field; none if it is no such item."""
    found = _item.fullmatch(item)
    if not found:
        return range(0)
    step = int(found[3] or 1)
    first = _number(found[1], greatest) if found[1] else least
    last = _number(found[2], greatest) if found[2] else greatest
    if found[1] and not found[2]:
        # A step needs a range.
        last, step = first, 0 if found[3] else 1
    if step < 1 or not least <= first <= last <= greatest:
        return range(0)
    return range(first, last + 1, step)


def _number(text: str, greatest: int) -> int:
    if greatest == 7 and text in DAYS:
        return DAYS.index(text)
    return int(text) if text.isdecimal() else -1
