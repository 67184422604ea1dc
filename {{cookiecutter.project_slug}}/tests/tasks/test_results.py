"""What is the same for records in memory and on Redis."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from fakeredis import FakeAsyncRedis
from taskiq import TaskiqResult

from app.tasks.memory_results import MemoryResults
from app.tasks.redis_results import RedisResults, record_key
from app.tasks.results import TaskResults
from app.tasks.status import TaskRecord, TaskStatus

pytestmark = pytest.mark.anyio


@pytest.fixture
async def redis() -> AsyncIterator[FakeAsyncRedis]:
    async with FakeAsyncRedis() as redis:
        yield redis


@pytest.fixture(params=["memory", "redis"])
def results(request: pytest.FixtureRequest, redis: FakeAsyncRedis) -> TaskResults:
    if request.param == "memory":
        return MemoryResults(capacity=10)
    return RedisResults(redis, ttl=60)


def result(value: object = None, *, is_err: bool = False, owner: str | None) -> TaskiqResult[Any]:
    labels = {} if owner is None else {"owner": owner}
    return TaskiqResult(is_err=is_err, return_value=value, execution_time=0, labels=labels)


async def test_an_unknown_task(results: TaskResults) -> None:
    assert await results.read("any") is None
    assert not await results.is_result_ready("any")
    with pytest.raises(KeyError):
        await results.get_result("any")


@pytest.mark.parametrize("owner", ["", "ada", None])
async def test_a_task_that_runs(results: TaskResults, owner: str | None) -> None:
    assert await results.begin("one", owner)
    status = TaskStatus(id="one", status="running")
    assert await results.read("one") == TaskRecord(status, owner)
    assert not await results.is_result_ready("one")
    with pytest.raises(KeyError):
        await results.get_result("one")


@pytest.mark.parametrize("value", [None, "text", {"a": [1, 2.5]}, b"bytes", {1, 2}])
@pytest.mark.parametrize("owner", ["", "ada", None])
async def test_a_task_that_is_done(results: TaskResults, value: object, owner: str | None) -> None:
    await results.begin("one", owner)
    await results.set_result("one", result(value, owner=owner))
    record = await results.read("one")
    assert record and record.status.status == "done" and record.owner == owner
    # As it is published.
    published = TaskStatus(id="one", status="done", result=value)
    assert record.status.model_dump_json() == published.model_dump_json()
    assert await results.is_result_ready("one")
    kept = await results.get_result("one")
    assert not kept.is_err and kept.return_value == record.status.result


async def test_a_task_that_failed(results: TaskResults) -> None:
    await results.set_result("one", result(is_err=True, owner="ada"))
    status = TaskStatus(id="one", status="failed", result="The task failed")
    assert await results.read("one") == TaskRecord(status, "ada")
    kept = await results.get_result("one")
    assert kept.is_err and kept.return_value is None


async def test_memory_is_bounded() -> None:
    results = MemoryResults(capacity=10)
    for number in range(30):
        await results.begin(str(number), "")
    assert list(results.records) == [str(number) for number in range(20, 30)]


@pytest.mark.parametrize("is_err", [True, False])
async def test_on_redis_a_task_that_has_finished_does_not_begin_again(
    redis: FakeAsyncRedis, is_err: bool
) -> None:
    results = RedisResults(redis, ttl=60)
    assert await results.begin("one", "ada")
    # A worker that died had begun it.
    assert await results.begin("one", "ada")
    await results.set_result("one", result(is_err=is_err, owner="ada"))
    finished = await results.read("one")
    assert not await results.begin("one", "ada")
    assert await results.read("one") == finished


async def test_records_on_redis_expire(redis: FakeAsyncRedis) -> None:
    results = RedisResults(redis, ttl=60)
    await results.begin("one", "ada")
    assert 0 < await redis.ttl(record_key("one")) <= 60
    await redis.persist(record_key("one"))
    await results.set_result("one", result(owner="ada"))
    assert 0 < await redis.ttl(record_key("one")) <= 60
