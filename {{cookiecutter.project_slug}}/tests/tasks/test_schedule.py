from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from app.tasks.schedule import Schedule

# A Monday.
START = datetime(2029, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("cron", "times"),
    [
        ("0 3 * * *", ["01-01 03:00", "01-02 03:00", "01-03 03:00"]),
        ("30 12 1 * *", ["01-01 12:30", "02-01 12:30", "03-01 12:30"]),
        ("*/20 8-9 * * *", ["01-01 08:00", "01-01 08:20", "01-01 08:40", "01-01 09:00"]),
        ("5,50 0 * * sun,TUE", ["01-02 00:05", "01-02 00:50", "01-07 00:05"]),
        ("0 0 * * 7", ["01-07 00:00", "01-14 00:00"]),
        ("0 0 * * 0", ["01-07 00:00", "01-14 00:00"]),
        ("0 0 * * fri-7", ["01-05 00:00", "01-06 00:00", "01-07 00:00", "01-12 00:00"]),
        ("0 0 13 * fri", ["01-05 00:00", "01-12 00:00", "01-13 00:00", "01-19 00:00"]),
        ("0 0 */14 2 *", ["02-01 00:00", "02-15 00:00"]),
        ("0 0 1-10/5 3 *", ["03-01 00:00", "03-06 00:00"]),
    ],
)
def test_times_of_a_schedule(cron: str, times: list[str]) -> None:
    schedule, found, minute = Schedule(print, cron), list[str](), START
    while len(found) < len(times):
        if schedule.is_due(minute):
            found.append(f"{minute:%m-%d %H:%M}")
        minute += timedelta(minutes=1)
    assert found == times


def test_a_schedule_of_another_time_zone() -> None:
    schedule = Schedule(print, "0 3 * * *", timezone=ZoneInfo("Europe/Berlin"))
    assert schedule.is_due(START.replace(hour=2))
    assert not schedule.is_due(START.replace(hour=3))
    assert schedule.is_due(START.replace(month=7, hour=1))


@pytest.mark.parametrize(
    ("cron", "problem"),
    [
        ("* * * *", "give five fields"),
        ("@daily", "give five fields"),
        ("60 * * * *", "'60' is no minute"),
        ("* 24 * * *", "'24' is no hour"),
        ("* * 0 * *", "'0' is no day of the month"),
        ("* * * jan *", "'jan' is no month"),
        ("* * * * noday", "'noday' is no day of the week"),
        ("* * * * 8", "'8' is no day of the week"),
        ("9-5 * * * *", "'9-5' is no minute"),
        ("5/10 * * * *", "'5/10' is no minute"),
        ("*/0 * * * *", "'\\*/0' is no minute"),
        ("1, * * * *", "'' is no minute"),
        ("? * * * *", "'\\?' is no minute"),
        ("-1 * * * *", "'-1' is no minute"),
    ],
)
def test_what_is_no_schedule_is_rejected(cron: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        Schedule(print, cron)


def test_all_processes_give_the_same_id_to_a_run() -> None:
    one, same = (Schedule(print, "0 3 * * *", [1], {"end": ""}) for _ in range(2))
    assert one.task_id("print", START) == same.task_id("print", START)
    others = [Schedule(print, "0 3 * * *", [2]), Schedule(print, "0 4 * * *", [1])]
    ids = {schedule.task_id("print", START) for schedule in [one, *others]}
    ids |= {one.task_id("other", START), one.task_id("print", START + timedelta(minutes=1))}
    assert len(ids) == 5
