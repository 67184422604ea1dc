import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from taskiq import AsyncBroker, BrokerMessage, InMemoryBroker

from app.tasks.cancel import cancel
from app.tasks.jobs import write_message
from app.tasks.schedule import Schedule
from app.tasks.scheduler import Scheduler

pytestmark = pytest.mark.anyio

START = datetime(2029, 1, 1, 12, 0, 30, tzinfo=UTC)


class Broker(InMemoryBroker):
    """Keeps what is sent, unless it is down."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[list[Any]] = []
        self.ids: list[str] = []
        self.is_down = False

    async def kick(self, message: BrokerMessage) -> None:
        if self.is_down:
            raise ConnectionError
        self.ids.append(message.task_id)
        self.sent.append(self.formatter.loads(message.message).args)


@pytest.fixture
async def broker() -> AsyncIterator[Broker]:
    broker = Broker()
    yield broker
    await broker.shutdown()


def scheduler(broker: AsyncBroker, *crons: str) -> Scheduler:
    schedules = [("write_message", Schedule(write_message, cron, [cron])) for cron in crons]
    return Scheduler(broker, schedules, now=START)


async def test_each_run_is_sent_once_at_its_time(broker: Broker) -> None:
    one = scheduler(broker, "1 * * * *", "*/2 * * * *")
    for seconds in range(0, 240, 1):
        await one.tick(START + timedelta(seconds=seconds))
    # Of 12:01, 12:02 and 12:04; not of 12:00, which had begun.
    assert broker.sent == [["1 * * * *"], ["*/2 * * * *"], ["*/2 * * * *"]]


async def test_all_workers_give_the_same_id_to_a_run(broker: Broker) -> None:
    for _ in range(2):
        one = scheduler(broker, "* * * * *")
        await one.tick(START + timedelta(minutes=1))
        await one.tick(START + timedelta(minutes=2))
    assert len(broker.ids) == 4
    assert broker.ids[:2] == broker.ids[2:]
    assert len(set(broker.ids)) == 2


async def test_what_was_missed_in_an_outage_is_sent_once_after_it(
    broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    one = scheduler(broker, "* * * * *", "1 * * * *")
    broker.is_down = True
    for minute in range(1, 10):
        await one.tick(START + timedelta(minutes=minute))
    assert broker.sent == []
    assert caplog.text.count("could not be sent") == 1
    broker.is_down = False
    await one.tick(START + timedelta(minutes=9, seconds=1))
    await one.tick(START + timedelta(minutes=9, seconds=2))
    assert broker.sent == [["* * * * *"], ["1 * * * *"]]
    broker.is_down = True
    await one.tick(START + timedelta(minutes=10))
    assert caplog.text.count("could not be sent") == 2


async def test_what_was_due_long_ago_is_not_made_up_for(broker: Broker) -> None:
    one = scheduler(broker, "1 * * * *", "30 13 * * *", "0 2 * * *")
    await one.tick(START + timedelta(days=3, hours=1, minutes=30))
    # Of 13:01 and 13:30 of that day.
    assert broker.sent == [["1 * * * *"], ["30 13 * * *"]]
    assert one.looked_at == datetime(2029, 1, 4, 13, 30, tzinfo=UTC)


async def test_it_runs_by_the_clock(broker: Broker) -> None:
    minutes: list[datetime] = []
    one, ticked = Scheduler(broker, [], now=datetime.now(UTC)), asyncio.Event()

    async def tick(now: datetime) -> None:
        minutes.append(now)
        ticked.set()

    one.tick = tick  # type: ignore[method-assign]
    running = asyncio.create_task(one.run())
    await ticked.wait()
    await cancel(running)
    assert abs(minutes[0] - datetime.now(UTC)) < timedelta(minutes=1)
