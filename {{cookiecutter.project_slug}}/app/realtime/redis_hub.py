"""Rooms that span processes, through Redis."""

import asyncio
import logging
import random
from contextlib import suppress
from secrets import token_hex
from time import monotonic

from pydantic import TypeAdapter, ValidationError
from redis.asyncio import Redis

from app.realtime.hub import Unavailable
from app.realtime.memory_hub import MemoryHub

# A process that has no messages publishes an empty batch after HEARTBEAT seconds. A process that
# receives nothing for SILENCE seconds connects again.
HEARTBEAT = 2.0
SILENCE = 5.0
# The initial and the maximum number of seconds between attempts to connect.
BACKOFF = (0.1, 2.0)
MAX_BATCH = 100
# The maximum number of processes whose message counts are kept; the longest silent are dropped.
MAX_ORIGINS = 1000

logger = logging.getLogger(__name__)

# The id of the publishing process, the number of messages that it published before, and the room
# and the text of each message.
_batch = TypeAdapter(tuple[str, int, list[tuple[str, str]]])


class RedisHub(MemoryHub):
    """A hub for several processes, which all publish and subscribe to one channel.

    `redis`: the client. `channel`: the name of the channel. `queue_size`: the maximum number of
    messages that wait for one member.

    A process receives its own messages from Redis too, so all members see the same order. Every
    process receives the messages of all rooms, which suits a total of up to a few thousand messages
    per second.

    A batch contains the number of messages that its process published before. Therefore a batch
    that arrives twice (the client retries after an error) is delivered once, and messages that were
    lost with a connection are counted in `lost`.
    Source: https://redis.io/docs/latest/develop/pubsub
    """

    def __init__(self, redis: Redis, *, channel: str, queue_size: int) -> None:
        super().__init__(queue_size=queue_size)
        self.redis = redis
        self.channel = channel
        self.connected = False
        self.lost = 0
        self._rejected = 0
        self._down_since: float | None = None
        self._origin = token_hex(8)
        self._sent = 0
        self._expected: dict[str, int] = {}
        self._outbox: asyncio.Queue[tuple[str, str, asyncio.Future[None]]] = asyncio.Queue()
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Connect in the background. `check` raises until the hub is connected."""
        self._tasks = {asyncio.create_task(run()) for run in (self._listen, self._write)}

    async def stop(self) -> None:
        """Disconnect."""
        self.connected = False
        while self._tasks:
            # Repeated, because asyncio.wait_for may lose a cancellation before Python 3.12.
            for task in self._tasks:
                task.cancel()
            _, self._tasks = await asyncio.wait(self._tasks, timeout=1)

    async def check(self) -> None:
        """Raise `Unavailable` while the hub is not connected."""
        if not self.connected:
            raise Unavailable("not connected to Redis")

    async def publish(self, room: str, text: str) -> None:
        """Send a message to every member of the room, in all processes."""
        if not self.connected:
            # Counted as published, so that the processes that miss the message count it as lost.
            self._sent += 1
            self._rejected += 1
            raise Unavailable("not connected to Redis")
        sent: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._outbox.put_nowait((room, text, sent))
        await sent

    async def _write(self) -> None:
        """Publish waiting messages in batches, and an empty batch if there are none."""
        while True:
            waiting = []
            with suppress(TimeoutError):
                async with asyncio.timeout(HEARTBEAT):
                    waiting.append(await self._outbox.get())
            while not self._outbox.empty() and len(waiting) < MAX_BATCH:
                waiting.append(self._outbox.get_nowait())
            batch = (self._origin, self._sent, [(room, text) for room, text, _ in waiting])
            self._sent += len(waiting)
            error: Unavailable | None = None
            try:
                await self.redis.publish(self.channel, _batch.dump_json(batch))
            except Exception as cause:
                # Any exception: the loop must go on with the next batch.
                error = Unavailable("not sent to Redis")
                if waiting:
                    logger.warning("%d messages could not be sent: %r", len(waiting), cause)
            for _, _, sent in waiting:
                if sent.done():
                    continue
                if error:
                    sent.set_exception(error)
                else:
                    sent.set_result(None)

    async def _listen(self) -> None:
        """Deliver the messages that arrive, and connect again after the connection is lost."""
        delay, longest = BACKOFF
        while True:
            try:
                async with self.redis.pubsub() as pubsub:
                    await pubsub.subscribe(self.channel)
                    while True:
                        async with asyncio.timeout(SILENCE):
                            message = await pubsub.get_message(timeout=None)
                        if message["type"] == "message":
                            await self._receive(message["data"])
                        else:
                            self._connected()
                            delay = BACKOFF[0]
            except Exception as error:
                self._disconnected(error)
            # Random, so that the processes do not connect at the same moment.
            await asyncio.sleep(random.uniform(delay / 2, delay))
            delay = min(delay * 2, longest)

    async def _receive(self, data: bytes) -> None:
        try:
            origin, count, messages = _batch.validate_json(data)
        except ValidationError:
            logger.warning("ignored an invalid batch in the channel %s", self.channel)
            return
        expected = self._expected.pop(origin, count)
        self._expected[origin] = max(expected, count + len(messages))
        if len(self._expected) > MAX_ORIGINS:
            del self._expected[next(iter(self._expected))]
        if count > expected:
            self.lost += count - expected
            logger.warning("%d messages were lost, %d so far", count - expected, self.lost)
        if count >= expected:
            for room, text in messages:
                await self.deliver(room, text)

    def _connected(self) -> None:
        self.connected = True
        if self._down_since is None:
            logger.info("connected to Redis")
        else:
            seconds = monotonic() - self._down_since
            message = "connected to Redis after %.1f s, during which %d messages were rejected"
            logger.warning(message, seconds, self._rejected)
        self._down_since = None
        self._rejected = 0

    def _disconnected(self, error: Exception) -> None:
        self.connected = False
        if self._down_since is None:
            self._down_since = monotonic()
            logger.warning("no connection to Redis: %r", error)
