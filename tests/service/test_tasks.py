"""Tasks of a generated service with a real Redis: workers die, tasks fail, requests fail."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request

import pytest

from tests.conftest import Bake
from tests.support.redis_server import RedisServer, command
from tests.support.service import Service, environment, open_url, serving

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("tasks")]

TASKS = 2000

# The task of these tests, which counts in Redis how often it has run to its end.
JOBS = """
import asyncio
import logging
import os

from redis.asyncio import Redis

logger = logging.getLogger(__name__)
redis = Redis.from_url(os.environ["REDIS_URL"], max_connections=1000)


async def write_message(message: str) -> str:
    logger.info("at work on %s", message)
    if message == "poison":
        raise ValueError("secret")
    if message == "deadly":
        os._exit(1)
    await asyncio.sleep(0.05)
    await redis.incr(f"ran:{message}")
    await redis.incr("ran:all")
    return message
"""
ROUTES = """

from sqlalchemy import text

from app.api.dependencies import DbSession


@router.post("/uncommitted")
async def fail_to_commit(request: Request, session: DbSession) -> None:
    enqueue(request, write_message, "uncommitted")
    reference = "REFERENCES items (id) DEFERRABLE INITIALLY DEFERRED"
    await session.execute(text(f"CREATE TABLE children (item INTEGER {reference})"))
    await session.execute(text("INSERT INTO children VALUES (-1)"))


@router.post("/many")
async def create_many(numbers: list[int], request: Request) -> list[str]:
    return [enqueue(request, write_message, f"number-{number}") for number in numbers]


@router.post("/refused", status_code=409)
async def refuse_task(request: Request) -> None:
    enqueue(request, write_message, "refused")


@router.post("/raised")
async def raise_task(request: Request) -> None:
    enqueue(request, write_message, "raised")
    raise HTTPException(503)
"""


@pytest.fixture(scope="module")
def project(install: Bake) -> Path:
    """Install a project with tasks that takes over the tasks of dead workers sooner."""
    project = install(background_tasks="taskiq", database="sqlite")
    (project / "app/tasks/jobs.py").write_text(JOBS, encoding="utf-8")
    with (project / "app/api/routes/tasks.py").open("a", encoding="utf-8") as routes:
        routes.write(ROUTES)
    streams = project / "app/tasks/streams.py"
    source = streams.read_text(encoding="utf-8")
    assert "ABANDONED = 30.0" in source
    streams.write_text(source.replace("ABANDONED = 30.0", "ABANDONED = 2.0"), encoding="utf-8")
    return project


@pytest.fixture
def service(project: Path, redis: RedisServer) -> Iterator[Service]:
    """Serve the service, without a worker."""
    with serving(project, REDIS_URL=redis.url) as service:
        yield service


@contextmanager
def worker(project: Path, url: str, name: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a worker, and kill it and its children afterwards."""
    with (project / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(
            [project / ".venv/bin/python", "-m", "app.worker", "--workers", "1"],
            cwd=project,
            env=environment(REDIS_URL=url, DEBUG="false", TASK_RETRY_DELAY="0.1"),
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        kill(process)


def kill(worker: subprocess.Popen[bytes]) -> None:
    """Kill a worker and its children."""
    try:
        os.killpg(worker.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    worker.wait()


def post(service: Service, path: str, content: Any = None, request_id: str = "") -> tuple[int, Any]:
    """Send a POST request, and return the status and the decoded body of the response."""
    headers = {"Content-Type": "application/json", "X-Request-ID": request_id}
    body = json.dumps(content).encode()
    try:
        with open_url(Request(service.address + path, body, headers), timeout=10) as response:
            return response.status, json.load(response)
    except HTTPError as error:
        with error:
            return error.code, json.load(error)


def create(service: Service, message: str) -> str:
    """Create a task, and return its id."""
    status, created = post(service, "/tasks", {"message": message}, f"request-of-{message}")
    assert status == 202
    return str(created["id"])


def status(service: Service, task_id: str) -> Any:
    """Return the status of a task, as the service reports it."""
    response = service.get(f"/tasks/{task_id}")
    assert response.status == 200
    return response.json()


def runs(redis: RedisServer, message: str) -> int:
    """Return how often a task has run to its end."""
    length = int(command(redis.url, "INCRBY", f"ran:{message}", "0")[1:])
    return length


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Wait until a condition is true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_no_task_is_lost_when_a_worker_is_killed(
    project: Path, redis: RedisServer, service: Service
) -> None:
    ids: list[str] = []
    for start in range(0, TASKS, 100):
        code, more = post(service, "/tasks/many", list(range(start, start + 100)))
        assert code == 200
        ids += more
    tasks = {task_id: f"number-{number}" for number, task_id in enumerate(ids)}
    assert len(tasks) == TASKS

    def statuses(pool: Executor, ids: list[str]) -> list[Any]:
        return list(pool.map(lambda task_id: status(service, task_id), ids))

    with (
        ThreadPoolExecutor(4) as pool,
        worker(project, redis.url, "one") as one,
        worker(project, redis.url, "other"),
    ):
        wait_for(lambda: runs(redis, "all") >= TASKS // 2)
        kill(one)
        some = statuses(pool, ids[::10])
        assert {task["status"] for task in some} > {"done"}
        for task in some:
            assert task["status"] != "done" or runs(redis, tasks[task["id"]]) >= 1
        # In the end the stream is empty: no worker still holds a message.
        wait_for(lambda: command(redis.url, "XLEN", "tasks") == b":0")
        for task in statuses(pool, ids):
            assert (task["status"], task["result"]) == ("done", tasks[task["id"]])
        assert min(runs(redis, message) for message in tasks.values()) >= 1


def test_a_task_that_always_fails_has_the_status_failed(
    project: Path, redis: RedisServer, service: Service
) -> None:
    with worker(project, redis.url, "one"):
        poison, good = create(service, "poison"), create(service, "good")
        wait_for(lambda: status(service, good)["status"] == "done")
        wait_for(lambda: status(service, poison)["status"] == "failed")
        assert status(service, poison)["result"] == "The task failed"
        wait_for(lambda: command(redis.url, "XLEN", "tasks") == b":0")
    records = [json.loads(line) for line in (project / "one.log").read_text().splitlines()]
    at_work = [record for record in records if record["message"] == "at work on poison"]
    assert len(at_work) == 4
    assert {record["request_id"] for record in at_work} == {"request-of-poison"}
    assert {record["task_id"] for record in at_work} == {poison}


def test_a_task_that_kills_its_worker_is_given_up(
    project: Path, redis: RedisServer, service: Service
) -> None:
    with worker(project, redis.url, "one"):
        deadly = create(service, "deadly")
        wait_for(lambda: status(service, deadly)["status"] == "failed", 90)
        good = create(service, "good")
        wait_for(lambda: status(service, good)["status"] == "done")


def test_a_request_that_fails_enqueues_nothing(redis: RedisServer, service: Service) -> None:
    assert post(service, "/tasks/refused")[0] == 409
    assert post(service, "/tasks/raised")[0] == 503
    assert command(redis.url, "XLEN", "tasks") == b":0"
    create(service, "good")
    assert command(redis.url, "XLEN", "tasks") == b":1"


def test_a_commit_that_fails_enqueues_nothing(project: Path, redis: RedisServer) -> None:
    # `serving` fails because of the traceback in the log.
    logged = pytest.raises(AssertionError, match="IntegrityError")
    with logged, serving(project, REDIS_URL=redis.url) as service:
        assert post(service, "/tasks/uncommitted")[0] == 500
        assert command(redis.url, "XLEN", "tasks") == b":0"


def test_a_worker_that_is_stopped_finishes_its_tasks(
    project: Path, redis: RedisServer, service: Service
) -> None:
    with worker(project, redis.url, "one") as one:
        wait_for(lambda: "Listening started" in (project / "one.log").read_text())
        ids = [create(service, f"stop-{number}") for number in range(20)]
        wait_for(lambda: status(service, ids[0])["status"] != "pending")
        one.terminate()
        assert one.wait(15) == 0
    statuses = {status(service, task_id)["status"] for task_id in ids}
    assert statuses <= {"done", "pending"}
    with worker(project, redis.url, "two"):
        wait_for(lambda: all(status(service, task_id)["status"] == "done" for task_id in ids))
