"""Records of tasks on Redis."""

import asyncio
import json
from typing import Any

from pydantic import TypeAdapter
from redis.asyncio import Redis
from taskiq import TaskiqResult

from app.tasks.insist import insist
from app.tasks.results import TaskResults
from app.tasks.status import FAILED, TaskRecord, TaskStatus

# Concurrent calls of a process. In a burst, they wait here instead of opening a connection each.
SLOTS = 32

_to_json = TypeAdapter(Any).dump_json


def record_key(task_id: str) -> str:
    """Return the key of the record of a task."""
    return f"task:{task_id}"


class RedisResults(TaskResults):
    """Records that all processes share, kept for `ttl` seconds after their last change.

    A worker that has the outcome of a task tries to keep it until Redis takes it.
    """

    # In one step: a task may be delivered twice, and the second delivery changes no outcome.
    BEGIN = """
        local status = redis.call('HGET', KEYS[1], 'status')
        if status == 'done' or status == 'failed' then return 0 end
        redis.call('HSET', KEYS[1], 'status', 'running', 'owner', ARGV[1])
        redis.call('EXPIRE', KEYS[1], ARGV[2])
        return 1
    """

    def __init__(self, redis: Redis, *, ttl: int) -> None:
        self.redis = redis
        self.ttl = ttl
        self.slots = asyncio.Semaphore(SLOTS)
        self.begin_script = redis.register_script(self.BEGIN)

    async def begin(self, task_id: str, owner: str | None) -> bool:
        """Call a task running, and return True; or return False if it has finished already."""
        key, args = record_key(task_id), (json.dumps(owner), self.ttl)

        async def write() -> int:
            async with self.slots:
                status: int = await self.begin_script(keys=[key], args=args)
                return status

        return bool(await insist(write))

    async def set_result(self, task_id: str, result: TaskiqResult[Any]) -> None:
        """Keep what a task returned, or that it failed."""
        record: dict[Any, Any] = {
            "status": "failed" if result.is_err else "done",
            "owner": json.dumps(result.labels.get("owner")),
            "result": _to_json(FAILED if result.is_err else result.return_value),
        }

        async def write() -> None:
            async with self.slots, self.redis.pipeline(transaction=True) as pipeline:
                pipeline.hset(record_key(task_id), mapping=record)
                pipeline.expire(record_key(task_id), self.ttl)
                await pipeline.execute()

        await insist(write)

    async def read(self, task_id: str) -> TaskRecord | None:
        """Return the record of a task, if there is one."""
        async with self.slots:
            reading: Any = self.redis.hgetall(record_key(task_id))
            record: dict[bytes, bytes] = await reading
        if not record:
            return None
        status = TaskStatus.model_validate(
            {
                "id": task_id,
                "status": record[b"status"].decode(),
                "result": json.loads(record.get(b"result", b"null")),
            }
        )
        return TaskRecord(status, json.loads(record[b"owner"]))
