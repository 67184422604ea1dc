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

# Seconds: a process is silent for so long at most, and without any sound it connects anew.
HEARTBEAT = 2.0
SILENCE = 5.0
# Seconds between attempts to connect: after the first, and at most.
BACKOFF = (0.1, 2.0)
MAX_BATCH = 100
# Processes whose counts are remembered, the longest silent go first.
MAX_ORIGINS = 1000

logger = logging.getLogger(__name__)

# The process it is from, how many messages came before, and a room and a text for each message.
_batch = TypeAdapter(tuple[str, int, list[tuple[str, str]]])


class RedisHub(MemoryHub):
    """A hub for many processes, each with a client for the same `channel`.

    All messages go out through Redis and come back, to their own process too, so everyone sees one
    order. Every process hears every room: right up to some thousand messages a second in all.

    A batch says how many messages of its process came before it. One that comes twice (a client
    sends again after an error) is delivered once; those that went missing while a connection was
    lost are counted in `lost`. Source: https://redis.io/docs/latest/develop/pubsub
    """

    def __init__(self, redis: Redis, *, channel: str, queue_size: int) -> None:
        super().__init__(queue_size=queue_size)
        self.redis = redis
        self.channel = channel
        self.connected = False
        self.lost = 0
        self._refused = 0
        self._down_since: float | None = None
        self._origin = token_hex(8)
        self._sent = 0
        self._expected: dict[str, int] = {}
        self._outbox: asyncio.Queue[tuple[str, str, asyncio.Future[None]]] = asyncio.Queue()
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Connect, in the background: `check` tells when that is done."""
        self._tasks = {asyncio.create_task(run()) for run in (self._listen, self._write)}

    async def stop(self) -> None:
        """Disconnect."""
        self.connected = False
        while self._tasks:
            # More than once: asyncio.wait_for may lose a cancellation before Python 3.12.
            for task in self._tasks:
                task.cancel()
            _, self._tasks = await asyncio.wait(self._tasks, timeout=1)

    async def check(self) -> None:
        """Raise while there is no connection."""
        if not self.connected:
            raise Unavailable("not connected to Redis")

    async def publish(self, room: str, text: str) -> None:
        """Send a message to everyone in the room, whatever process they are connected to."""
        if not self.connected:
            # It takes a number: all who would have got it count it as lost.
            self._sent += 1
            self._refused += 1
            raise Unavailable("not connected to Redis")
        sent: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._outbox.put_nowait((room, text, sent))
        await sent

    async def _write(self) -> None:
        """Send what waits, all at once; an empty batch when nothing does."""
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
                # Whatever it was, the next batch is sent.
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
        """Deliver what arrives, and connect again whenever the connection is lost."""
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
            # Not all processes at the same moment.
            await asyncio.sleep(random.uniform(delay / 2, delay))
            delay = min(delay * 2, longest)

    async def _receive(self, data: bytes) -> None:
        try:
            origin, count, messages = _batch.validate_json(data)
        except ValidationError:
            logger.warning("not a batch of messages in %s", self.channel)
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
            message = "connected to Redis after %.1f s, in which %d messages were refused"
            logger.warning(message, seconds, self._refused)
        self._down_since = None
        self._refused = 0

    def _disconnected(self, error: Exception) -> None:
        self.connected = False
        if self._down_since is None:
            self._down_since = monotonic()
            logger.warning("no connection to Redis: %r", error)
