"""Tasks as an owner of a service writes them: their context, their clock, their mistakes."""

import json
from collections.abc import Iterator
from pathlib import Path
from urllib.request import Request

import pytest

from tests.conftest import Bake
from tests.service.test_tasks import create, post, status, wait_for, worker
from tests.support.redis_server import RedisServer, command
from tests.support.service import Service, open_url, run, serving

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("own_tasks")]

JOBS = """
import logging
import time
from uuid import uuid4

from sqlalchemy import func, select

from app.core.settings import CoreSettings
from app.db.models import Item
from app.tasks import TaskContext

logger = logging.getLogger(__name__)


async def write_message(context: TaskContext, message: str) -> int:
    level = context.get_settings(CoreSettings).log_level
    logger.info("at level %s: %s", level, message)
    if message == "block":
        time.sleep(600)
    async with context.sessions.begin() as session:
        session.add(Item(name=f"{message} {uuid4()}", description=""))
        await session.flush()
        return await session.scalar(select(func.count()).select_from(Item)) or 0


def block_a_thread(seconds: int) -> None:
    time.sleep(seconds)
"""
REGISTRY = """
from app.tasks.jobs import block_a_thread
TASKS["block_a_thread"] = block_a_thread
SCHEDULES.append(Schedule(write_message, "* * * * *", ["by the clock"]))
"""
ROUTES = """

from app.tasks.jobs import block_a_thread


@router.post("/thread", status_code=202)
async def block(seconds: int, request: Request) -> TaskCreated:
    return TaskCreated(id=enqueue(request, block_a_thread, seconds))


@router.post("/wrong", status_code=202)
async def send_what_does_not_fit(request: Request) -> TaskCreated:
    return TaskCreated(id=enqueue(request, block_a_thread, "secret"))  # type: ignore[call-overload]
"""


@pytest.fixture(scope="module")
def project(install: Bake) -> Path:
    """A service with tasks of its owner, whose faults are noticed sooner."""
    project = install(background_tasks="taskiq", database="sqlite")
    (project / "app/tasks/jobs.py").write_text(JOBS, encoding="utf-8")
    for name, text in {"tasks/registry": REGISTRY, "api/routes/tasks": ROUTES}.items():
        with (project / f"app/{name}.py").open("a", encoding="utf-8") as file:
            file.write(text)
    for name, old, new in (
        ("streams", "ABANDONED = 30.0", "ABANDONED = 1.0"),
        ("streams", "DELIVERIES = 5", "DELIVERIES = 2"),
        ("watchdog", "GRACE = 10.0", "GRACE = 0.5"),
    ):
        path = project / f"app/tasks/{name}.py"
        source = path.read_text(encoding="utf-8")
        assert old in source
        path.write_text(source.replace(old, new), encoding="utf-8")
    return project


@pytest.fixture
def service(project: Path, redis: RedisServer) -> Iterator[Service]:
    """The service, which has no worker yet."""
    with serving(project, REDIS_URL=redis.url) as service:
        yield service


def logged(project: Path, name: str, level: str) -> list[str]:
    """Return what a worker logged at a level."""
    records = map(json.loads, (project / f"{name}.log").read_text(encoding="utf-8").splitlines())
    return [record["message"] for record in records if record["level"] == level]


def test_a_task_has_settings_and_a_session_and_runs_by_the_clock_once(
    project: Path, redis: RedisServer, service: Service
) -> None:
    def sent() -> int:
        logs = [(project / f"{name}.log").read_text(encoding="utf-8") for name in ("one", "other")]
        return sum(log.count("at level INFO: by the clock") for log in logs)

    with worker(project, redis.url, "one"), worker(project, redis.url, "other"):
        wait_for(lambda: sent() > 0)
        task = create(service, "hello")
        wait_for(lambda: status(service, task)["status"] == "done")
        items = service.get("/items").json()["items"]
        assert {item["name"][:-37] for item in items} == {"hello", "by the clock"}
        assert status(service, task)["result"] in (1, len(items))
    minutes = {
        message
        for name in ("one", "other")
        for message in logged(project, name, "INFO")
        if message.startswith("sent the task write_message of ")
    }
    # Both workers send it, for each minute that began meanwhile; it runs once for each.
    assert sent() <= len(minutes) <= 2


def test_arguments_that_do_not_fit_are_seen(project: Path, redis: RedisServer) -> None:
    logged = pytest.raises(AssertionError, match="InvalidArguments: block_a_thread: seconds")
    with logged, serving(project, REDIS_URL=redis.url) as service:
        assert post(service, "/tasks/wrong")[0] == 500
        assert command(redis.url, "XLEN", "tasks") == b":0"


def test_a_task_that_does_not_end_ends_its_worker_and_is_seen(
    project: Path, redis: RedisServer, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TASK_TIMEOUT", "0.5")
    monkeypatch.setenv("TASK_RETRIES", "0")
    with worker(project, redis.url, "one"):
        code, thread = post(service, "/tasks/thread?seconds=600")
        assert code == 202
        block = create(service, "block")
        tasks = (thread["id"], block)
        wait_for(lambda: all(status(service, task)["status"] == "failed" for task in tasks))
        good = create(service, "good")
        wait_for(lambda: status(service, good)["status"] == "done")
        wait_for(lambda: command(redis.url, "XLEN", "tasks") == b":0")
    critical = " ".join(logged(project, "one", "CRITICAL"))
    assert "did not end at the timeout, which ends this worker" in critical
    assert "block_a_thread" in critical
    assert "write_message" in critical


def test_what_is_no_task_ends_no_worker_and_does_not_stay(
    project: Path, redis: RedisServer, service: Service
) -> None:
    unknown = {"task_id": "1", "task_name": "newer", "labels": {}, "args": [], "kwargs": {}}
    for field, data in (("other", "x"), ("data", "no json"), ("data", json.dumps(unknown))):
        command(redis.url, "XADD", "tasks", "*", field, data)
    with worker(project, redis.url, "one"):
        good = create(service, "good")
        wait_for(lambda: status(service, good)["status"] == "done")
        wait_for(lambda: command(redis.url, "XLEN", "tasks") == b":0")
    errors = " ".join(logged(project, "one", "ERROR"))
    assert "which is no task" in errors
    assert "this worker does not know the task newer" in errors
    assert "task newer 1 could not be run or ended its workers, given up" in errors


@pytest.mark.parametrize("kind", ["fastapi", "taskiq"])
def test_with_users_a_task_is_its_creators(install: Bake, kind: str) -> None:
    project = install(background_tasks=kind, jwt="issue", database="sqlite")
    with serving(project) as service:
        tokens = []
        for name in ("ada", "bob"):
            user = {"username": name, "password": "correct horse battery staple"}
            assert post(service, "/users", user)[0] == 201
            form = f"username={name}&password=correct+horse+battery+staple".encode()
            with open_url(Request(f"{service.address}/token", form)) as response:
                tokens.append(f"Bearer {json.load(response)['access_token']}")
        ada, bob = tokens
        assert post(service, "/tasks", {"message": "hello"})[0] == 401
        body = json.dumps({"message": "hello"}).encode()
        headers = {"Content-Type": "application/json", "Authorization": ada}
        with open_url(Request(f"{service.address}/tasks", body, headers)) as response:
            assert response.status == 202
            path = response.headers["Location"]
        wait_for(lambda: service.get(path, Authorization=ada).json()["status"] == "done")
        assert service.get(path, Authorization=bob).status == 404
        assert service.get(path).status == 401


def test_it_type_checks(project: Path) -> None:
    """The type of a task and of its arguments is known where it is sent."""
    run(project, ".venv/bin/mypy", "app")
