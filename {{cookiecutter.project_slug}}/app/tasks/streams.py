"""The queue on Redis: a stream of which every message is acknowledged."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from time import monotonic
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError
from taskiq import AckableMessage, AsyncBroker, TaskiqResult
from taskiq_redis import RedisStreamBroker

# Messages that a worker takes at a time, and milliseconds that it waits for the first.
BATCH = 10
BLOCK = 1000
# Seconds. A message that nobody has confirmed to hold for so long is another worker's.
ABANDONED = 30.0
# Seconds between two questions while Redis is down.
PAUSE = 1.0
# A task that ended its worker so many times is not given to another.
DELIVERIES = 5

Entry = tuple[bytes, dict[bytes, bytes]]

logger = logging.getLogger(__name__)


class StreamBroker(RedisStreamBroker):
    """What the stream of `taskiq-redis` lacks for work that must not be lost.

    A worker confirms what it holds, for as long as it lives; what a dead one held is taken over,
    also while nothing new arrives. Acknowledged messages are deleted, or the stream would grow for
    ever. A task that ends its workers is given up. An outage of Redis does not end a worker.
    Source: https://redis.io/docs/latest/develop/data-types/streams/
    """

    def __init__(self, url: str, *, abandoned: float = ABANDONED, **options: Any) -> None:
        super().__init__(
            url,
            queue_name="tasks",
            consumer_group_name="workers",
            # From the start: what was sent before the first worker came is not skipped.
            consumer_id="0",
            idle_timeout=int(abandoned * 1000),
            **options,
        )
        self.redis = Redis(connection_pool=self.connection_pool)
        self.look_at = 0.0
        self.is_declared = False
        self.is_down = False

    async def startup(self) -> None:
        """Start also while Redis does not answer: it is asked when there is something to ask."""
        await AsyncBroker.startup(self)

    async def listen(self) -> AsyncGenerator[AckableMessage, None]:
        """Yield messages, for ever."""
        keeping = asyncio.create_task(self.keep())
        try:
            while True:
                for entry_id, fields in await self.read():
                    yield AckableMessage(
                        data=fields[b"data"], ack=self._ack_generator(entry_id, self.queue_name)
                    )
        finally:
            keeping.cancel()

    async def read(self) -> list[Entry]:
        """Wait for something to do, or for Redis to come back."""
        try:
            if not self.is_declared:
                await self._declare_consumer_group()
                self.is_declared = True
            entries = [*await self.read_new(), *await self.take_over()]
        except RedisError as error:
            if not self.is_down:
                logger.error("the queue does not answer: %r", error)
            # It may come back without its memory, and the group with it.
            self.is_down, self.is_declared = True, False
            await asyncio.sleep(PAUSE)
            return []
        if self.is_down:
            logger.warning("the queue answers again")
            self.is_down = False
        return entries

    async def read_new(self) -> list[Entry]:
        """Wait for new messages."""
        streams: Any = await self.redis.xreadgroup(
            self.consumer_group_name,
            self.consumer_name,
            {self.queue_name: ">"},
            count=BATCH,
            block=BLOCK,
        )
        return [entry for _, entries in streams for entry in entries]

    async def take_over(self) -> list[Entry]:
        """Look, now and then, for messages of workers that are gone."""
        if monotonic() < self.look_at:
            return []
        self.look_at = monotonic() + self.idle_timeout / 3000
        _, entries, *_ = await self.redis.xautoclaim(
            self.queue_name,
            self.consumer_group_name,
            self.consumer_name,
            min_idle_time=self.idle_timeout,
            count=BATCH,
        )
        if entries:
            logger.warning("took over %d tasks of a worker that is gone", len(entries))
            # There may be more.
            self.look_at = 0
        return [entry for entry in entries if not await self.give_up(*entry)]

    async def give_up(self, entry_id: bytes, fields: dict[bytes, bytes]) -> bool:
        """Fail a task for good that ended one worker after the other."""
        (pending,) = await self.redis.xpending_range(
            self.queue_name, self.consumer_group_name, min=entry_id, max=entry_id, count=1
        )
        if int(pending["times_delivered"]) <= DELIVERIES:
            return False
        message = self.formatter.loads(fields[b"data"])
        logger.error("task %s %s ended its workers, given up", message.task_name, message.task_id)
        error = RuntimeError("the worker ended")
        result: Any = TaskiqResult(is_err=True, return_value=None, execution_time=0, error=error)
        await self.result_backend.set_result(message.task_id, result)
        await self._ack_generator(entry_id, self.queue_name)()
        return True

    async def keep(self) -> None:
        """Confirm, while this worker lives, that it holds what it took."""
        while True:
            await asyncio.sleep(self.idle_timeout / 3000)
            try:
                await self.confirm()
            except RedisError as error:
                logger.warning("could not confirm what this worker holds: %r", error)

    async def confirm(self) -> None:
        held = await self.redis.xpending_range(
            self.queue_name,
            self.consumer_group_name,
            min="-",
            max="+",
            count=10_000,
            consumername=self.consumer_name,
        )
        if held:
            await self.redis.xclaim(
                self.queue_name,
                self.consumer_group_name,
                self.consumer_name,
                min_idle_time=0,
                message_ids=[entry["message_id"] for entry in held],
                # Not one delivery more.
                justid=True,
            )

    def _ack_generator(self, id: Any, queue_name: str) -> Callable[[], Awaitable[None]]:
        async def acknowledge() -> None:
            async with self.redis.pipeline(transaction=True) as pipeline:
                pipeline.xack(queue_name, self.consumer_group_name, id)
                pipeline.xdel(queue_name, id)
                await pipeline.execute()

        return acknowledge
