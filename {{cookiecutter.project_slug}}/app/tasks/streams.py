"""The queue on Redis: a stream whose messages are acknowledged."""

import asyncio
import json
import logging
from collections.abc import AsyncGenerator
from functools import partial
from time import monotonic
from typing import Any
from uuid import uuid4

from redis.asyncio import Redis
from redis.exceptions import ResponseError
from taskiq import AsyncBroker, AsyncTaskiqDecoratedTask, BrokerMessage, TaskiqResult
from taskiq.exceptions import UnknownTaskError

from app.core.redis import explain
from app.tasks.cancel import cancel
from app.tasks.errors import QueueFull
from app.tasks.insist import insist
from app.tasks.redis_results import RedisResults, record_key
from app.tasks.stream_message import StreamMessage

STREAM = "tasks"
GROUP = "workers"
# Messages that a worker takes at a time, and milliseconds that it waits for the first.
BATCH = 10
BLOCK = 1000
# Seconds after which a message that its worker has not confirmed is delivered to another one.
ABANDONED = 30.0
# Seconds between two attempts while Redis is unavailable.
PAUSE = 1.0
# Deliveries after which a task that cannot be run, or that ends its workers, has failed.
DELIVERIES = 5
# Milliseconds without a command until a worker counts as gone. A live one reads every second.
GONE = 3_600_000

Entry = tuple[bytes, dict[bytes, bytes] | None]

logger = logging.getLogger(__name__)


class StreamBroker(AsyncBroker):
    """A stream for tasks that must not be lost.

    A message stays in the stream until it is acknowledged. A worker confirms the messages that it
    works on. A message that is not confirmed, because its worker is gone, a reply was lost or an
    error occurred outside the task, is delivered again; after DELIVERIES deliveries the task has
    failed. An outage of Redis does not end a worker. `limit`: the most messages that may wait;
    `kick` raises QueueFull above it. `abandoned`: seconds until an unconfirmed message is delivered
    to another worker.
    Source: https://redis.io/docs/latest/develop/data-types/streams/
    """

    # A script is atomic: a task has a record if and only if it is in the queue. A task that is sent
    # again, because the first reply was lost, is queued once.
    KICK = """
        if ARGV[4] == '1' then
            if redis.call('EXISTS', KEYS[2]) == 1 then return 1 end
            if redis.call('XLEN', KEYS[1]) >= tonumber(ARGV[5]) then return 0 end
        end
        redis.call('HSET', KEYS[2], 'status', 'pending', 'owner', ARGV[2])
        redis.call('EXPIRE', KEYS[2], ARGV[3])
        redis.call('XADD', KEYS[1], '*', 'data', ARGV[1])
        return 1
    """

    # Removes the names of workers that are gone. A name with pending messages stays, because its
    # messages would be lost with it.
    FORGET = """
        for _, fields in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
            local consumer = {}
            for i = 1, #fields, 2 do consumer[fields[i]] = fields[i + 1] end
            if consumer.pending == 0 and consumer.idle > tonumber(ARGV[2]) then
                redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], consumer.name)
            end
        end
    """

    def __init__(
        self, redis: Redis, results: RedisResults, *, limit: int, abandoned: float = ABANDONED
    ) -> None:
        super().__init__()
        self.redis = redis
        self.results = self.result_backend = results
        self.limit = limit
        self.abandoned = abandoned
        self.name = uuid4().hex
        self.held: set[bytes] = set()
        self.look_at = 0.0
        self.is_declared = False
        self.is_down = False
        self.is_warned = False
        self.kick_script = redis.register_script(self.KICK)
        self.forget_script = redis.register_script(self.FORGET)

    def find_task(self, task_name: str) -> AsyncTaskiqDecoratedTask[Any, Any]:
        """Return a task by its name, or raise UnknownTaskError.

        During a deployment, an older worker may not know a new task. It returns the message.
        """
        task = super().find_task(task_name)
        if task is None:
            raise UnknownTaskError(task_name=task_name)
        return task

    async def kick(self, message: BrokerMessage) -> None:
        """Send a message unless it was sent before. Raise QueueFull, except for a retry."""
        is_first = "tries" not in message.labels
        args: list[bytes | str | int] = [
            message.message,
            json.dumps(message.labels.get("owner")),
            self.results.ttl,
            int(is_first),
            self.limit,
        ]
        async with self.results.slots:
            is_sent = await self.kick_script(keys=[STREAM, record_key(message.task_id)], args=args)
        if not is_sent:
            raise QueueFull(f"{self.limit} tasks wait (TASK_QUEUE_SIZE)")

    async def listen(self) -> AsyncGenerator[StreamMessage, None]:
        """Yield messages without end."""
        confirming = asyncio.create_task(self.keep_confirming())
        try:
            while True:
                for entry_id, fields in await self.read():
                    if not fields or b"data" not in fields:
                        logger.error("dropped %r of the queue, which is no task", entry_id)
                        await self.acknowledge(entry_id)
                        continue
                    yield StreamMessage(
                        data=fields[b"data"],
                        ack=partial(self.acknowledge, entry_id),
                        give_back=partial(self.held.discard, entry_id),
                    )
        finally:
            await cancel(confirming)

    async def read(self) -> list[Entry]:
        """Return messages, or an empty list if there are none or Redis is unavailable."""
        try:
            if not self.is_declared:
                await self.declare()
            entries = [*await self.read_new(), *await self.take_over()]
        except Exception as error:
            # No error may end the worker.
            if not self.is_down:
                logger.error("the queue is unavailable: %s", explain(error))
            # Redis may come back without its data, and so without the group.
            self.is_down, self.is_declared = True, False
            await asyncio.sleep(PAUSE)
            return []
        if self.is_down:
            logger.warning("the queue is available again")
            self.is_down = False
        # Only now: messages that an error above prevented from being returned must not be confirmed.
        self.held.update(entry_id for entry_id, _ in entries)
        return entries

    async def declare(self) -> None:
        """Create the group, and confirm the messages that this worker held during an outage."""
        try:
            # From the start of the stream, to include messages sent before the first worker started.
            await self.redis.xgroup_create(STREAM, GROUP, id="0", mkstream=True)
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise
        await self.confirm()
        await self.forget_script(keys=[STREAM], args=[GROUP, GONE])
        await self.warn_of_eviction()
        if self.is_down:
            # Gives the other workers time to confirm their messages as well.
            self.look_at = monotonic() + self.abandoned
        self.is_declared = True

    async def warn_of_eviction(self) -> None:
        """Log once if Redis may drop the whole queue, as a cache does when its memory is full."""
        if self.is_warned:
            return
        self.is_warned = True
        try:
            memory: dict[str, Any] = await self.redis.info("memory")
        except ResponseError:
            # A hosted Redis may reject this command.
            return
        policy = str(memory.get("maxmemory_policy", ""))
        if policy.startswith("allkeys"):
            logger.warning("Redis may evict the queue: set maxmemory-policy to noeviction")

    async def read_new(self) -> list[Entry]:
        """Wait for new messages."""
        streams: Any = await self.redis.xreadgroup(
            GROUP, self.name, {STREAM: ">"}, count=BATCH, block=BLOCK
        )
        return [entry for _, entries in streams for entry in entries]

    async def take_over(self) -> list[Entry]:
        """Return messages that other workers have abandoned. Looks for them at intervals."""
        if monotonic() < self.look_at:
            return []
        self.look_at = monotonic() + self.abandoned / 3
        _, entries, *_ = await self.redis.xautoclaim(
            STREAM, GROUP, self.name, min_idle_time=int(self.abandoned * 1000), count=BATCH
        )
        if entries:
            logger.warning("took over %d tasks that nobody works on", len(entries))
            # There may be more.
            self.look_at = 0.0
        return [entry for entry in entries if not await self.give_up(*entry)]

    async def give_up(self, entry_id: bytes, fields: dict[bytes, bytes] | None) -> bool:
        """Mark a task as failed if it was delivered too often, and return whether it was."""
        pending = await self.redis.xpending_range(
            STREAM, GROUP, min=entry_id, max=entry_id, count=1
        )
        if not fields or not pending or int(pending[0]["times_delivered"]) <= DELIVERIES:
            return False
        try:
            message = self.formatter.loads(fields[b"data"])
        except Exception:
            # The receiver drops messages that it cannot read.
            return False
        logger.error(
            "task %s %s could not be run or ended its workers, given up",
            message.task_name,
            message.task_id,
        )
        result: TaskiqResult[Any] = TaskiqResult(
            is_err=True, return_value=None, execution_time=0, labels=message.labels
        )
        await self.results.set_result(message.task_id, result)
        await self.acknowledge(entry_id)
        return True

    async def keep_confirming(self) -> None:
        """Confirm the messages that this worker holds, at intervals."""
        while True:
            await asyncio.sleep(self.abandoned / 3)
            try:
                await self.confirm()
            except Exception as error:
                message = "could not confirm what this worker holds: %s"
                logger.warning(message, explain(error))

    async def confirm(self) -> None:
        """Restart the time after which the messages of this worker count as abandoned."""
        if self.held:
            await self.redis.xclaim(
                STREAM,
                GROUP,
                self.name,
                min_idle_time=0,
                message_ids=list(self.held),
                # Does not count as a delivery.
                justid=True,
            )

    async def acknowledge(self, entry_id: bytes) -> None:
        """Acknowledge a message and delete it, because the stream keeps acknowledged messages."""

        async def remove() -> None:
            async with self.results.slots, self.redis.pipeline(transaction=True) as pipeline:
                pipeline.xack(STREAM, GROUP, entry_id)
                pipeline.xdel(STREAM, entry_id)
                await pipeline.execute()

        await insist(remove)
        self.held.discard(entry_id)
