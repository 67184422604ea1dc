"""No task is lost, whatever happens to Redis: a generated service under load, with two workers."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.conftest import Bake
from tests.service.test_tasks import post, status, wait_for, worker
from tests.support.endpoint import Endpoint
from tests.support.redis_server import RedisServer, command
from tests.support.service import Service, serving

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("task_faults")]

CLIENTS = 4


@pytest.fixture(scope="module")
def project(install: Bake) -> Path:
    """A service with tasks, installed, whose dead workers are noticed sooner."""
    project = install(background_tasks="taskiq", database="sqlite", use_rate_limit=True)
    streams = project / "app/tasks/streams.py"
    source = streams.read_text(encoding="utf-8")
    assert "ABANDONED = 30.0" in source
    streams.write_text(source.replace("ABANDONED = 30.0", "ABANDONED = 2.0"), encoding="utf-8")
    return project


@contextmanager
def running(project: Path, url: str) -> Iterator[Service]:
    """Run the service and two workers of it."""
    with (
        worker(project, url, "one"),
        worker(project, url, "other"),
        serving(project, REDIS_URL=url, RATE_LIMIT="1000000/minute") as service,
    ):
        yield service


class Load:
    """Clients that create tasks until they are stopped, and send again what was refused."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.accepted: dict[str, int] = {}
        self.refused = 0
        self.stopped = threading.Event()
        self.pool = ThreadPoolExecutor(CLIENTS)

    def run(self, client: int) -> None:
        number = 0
        while not self.stopped.is_set():
            message = "x" * (number % 50 + 1)
            code, response = post(self.service, "/tasks", {"message": message})
            if code == 202:
                self.accepted[response["id"]] = len(message)
                number += 1
            else:
                assert code == 503, (code, response)
                self.refused += 1
                self.stopped.wait(0.05)

    def __enter__(self) -> "Load":
        self.clients = [self.pool.submit(self.run, client) for client in range(CLIENTS)]
        return self

    def __exit__(self, *exception: object) -> None:
        self.stopped.set()
        for client in self.clients:
            client.result()
        self.pool.shutdown()

    def wait_for(self, more: int) -> None:
        """Wait until so many more tasks were accepted."""
        goal = len(self.accepted) + more
        wait_for(lambda: len(self.accepted) >= goal)

    def wait_for_refusal(self) -> None:
        """Wait until one more was refused."""
        refused = self.refused
        wait_for(lambda: self.refused > refused)

    def check(self, url: str, seconds: float = 60) -> None:
        """Every task that was accepted is reported done, and nothing is left in the queue."""
        left = dict(self.accepted)

        def all_done() -> bool:
            for task_id in list(left):
                task = status(self.service, task_id)
                if task["status"] != "done":
                    return False
                assert task["result"] == left.pop(task_id)
            return True

        try:
            wait_for(all_done, seconds)
        except AssertionError:
            states: dict[str, int] = {}
            for task_id in left:
                response = self.service.get(f"/tasks/{task_id}")
                key = str(response.json().get("status", response.status))
                states[key] = states.get(key, 0) + 1
            raise AssertionError(f"{len(self.accepted)} accepted, not done: {states}") from None
        wait_for(lambda: command(url, "XLEN", "tasks") == b":0")
        print(f"{len(self.accepted)} accepted and done, {self.refused} refused")


def idle(redis: RedisServer) -> int:
    """How many connections do anything else than to wait for messages, or to confirm them."""
    lines = redis.reply("CLIENT", "LIST").splitlines()
    others = (b"cmd=client", b"cmd=xreadgroup", b"cmd=xautoclaim", b"cmd=xclaim")
    return sum(not any(other in line for other in others) for line in lines)


def test_connections_that_redis_closes_while_they_idle(project: Path) -> None:
    with ExitStack() as stack:
        redis = RedisServer()
        redis.start("--timeout", "4")
        stack.callback(redis.kill)
        service = stack.enter_context(running(project, redis.url))
        for _ in range(2):
            with Load(service) as load:
                load.wait_for(40)
            assert load.refused == 0
            load.check(redis.url)
            wait_for(lambda: idle(redis) == 0)
            assert service.get("/readyz").status == 200
            wait_for(lambda: idle(redis) == 0)


def test_connections_that_are_killed(project: Path, redis: RedisServer) -> None:
    with running(project, redis.url) as service:
        with Load(service) as load:
            for _ in range(30):
                load.wait_for(10)
                command(redis.url, "CLIENT", "KILL", "TYPE", "normal")
        load.check(redis.url)


def test_a_restart(project: Path, tmp_path: Path) -> None:
    options = ("--dir", str(tmp_path), "--appendonly", "yes", "--appendfsync", "always")
    with ExitStack() as stack:
        redis = RedisServer()
        redis.start(*options)
        stack.callback(redis.kill)
        service = stack.enter_context(running(project, redis.url))
        with Load(service) as load:
            for _ in range(3):
                load.wait_for(50)
                redis.kill()
                load.wait_for_refusal()
                redis.start(*options)
            load.wait_for(50)
        load.check(redis.url)


@pytest.mark.parametrize("is_orderly", [True, False])
def test_a_failover(project: Path, is_orderly: bool) -> None:
    with ExitStack() as stack:
        primary, replica = RedisServer(), RedisServer()
        for server in (primary, replica):
            server.start()
            stack.callback(server.kill)
        command(replica.url, "REPLICAOF", "127.0.0.1", str(primary.port))
        wait_for(lambda: b"master_link_status:up" in replica.reply("INFO", "replication"))
        endpoint = Endpoint(primary.port)
        stack.callback(endpoint.close)
        service = stack.enter_context(running(project, endpoint.url))
        with Load(service) as load:
            load.wait_for(100)
            if is_orderly:
                # The old primary lives on as a replica, with the connections that it had.
                command(primary.url, "FAILOVER")
                wait_for(lambda: b"role:master" in replica.reply("INFO", "replication"))
                endpoint.target = replica.port
            else:
                # What the primary accepted in its last moment would be lost: replication does not
                # wait. So nothing is accepted then.
                command(primary.url, "CONFIG", "SET", "min-replicas-to-write", "2")
                load.wait_for_refusal()
                command(primary.url, "WAIT", "1", "1000")
                primary.kill()
                command(replica.url, "REPLICAOF", "NO", "ONE")
                endpoint.target = replica.port
            load.wait_for(100)
        load.check(replica.url)
