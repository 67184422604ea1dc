"""A Redis that responds, and takes no writes: readiness and the log say so, and nothing is open."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from tests.conftest import Bake
from tests.service.test_tasks import post, wait_for
from tests.support.redis_server import RedisServer, command, free_port
from tests.support.service import run, serving

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("redis_states")]


@pytest.fixture(scope="module")
def project(install: Bake) -> Path:
    """A service that uses Redis for a limit and for tasks."""
    return install(background_tasks="taskiq", use_rate_limit=True)


Start = Callable[..., RedisServer]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a Redis whose files are those of the test."""
    with ExitStack() as stack:

        def start(*options: str) -> RedisServer:
            server = RedisServer()
            directory = tmp_path / str(server.port)
            directory.mkdir()
            server.start("--dir", str(directory), *options)
            stack.callback(server.kill)
            return server

        yield start


def out_of_memory(start: Start, tmp_path: Path) -> RedisServer:
    return start("--maxmemory", "100kb")


def read_only(start: Start, tmp_path: Path) -> RedisServer:
    primary, replica = start(), start()
    command(replica.url, "REPLICAOF", "127.0.0.1", str(primary.port))
    wait_for(lambda: b"master_link_status:up" in replica.reply("INFO", "replication"))
    return replica


def unable_to_save(start: Start, tmp_path: Path) -> RedisServer:
    server = start("--save", "3600 1")
    (tmp_path / str(server.port)).rmdir()
    command(server.url, "SET", "a", "b")
    command(server.url, "BGSAVE")
    wait_for(lambda: b"rdb_last_bgsave_status:err" in server.reply("INFO", "persistence"))
    return server


def cluster(start: Start, tmp_path: Path) -> RedisServer:
    ports = [free_port(), free_port()]
    nodes = [start("--cluster-enabled", "yes", "--cluster-port", str(port)) for port in ports]
    command(nodes[0].url, "CLUSTER", "ADDSLOTSRANGE", "0", "8191")
    command(nodes[1].url, "CLUSTER", "ADDSLOTSRANGE", "8192", "16383")
    command(nodes[1].url, "CLUSTER", "MEET", "127.0.0.1", str(nodes[0].port), str(ports[0]))
    for node in nodes:
        wait_for(partial(is_ready, node))
    return nodes[0]


def is_ready(node: RedisServer) -> bool:
    """Return whether a node of a cluster takes commands."""
    return b"cluster_state:ok" in node.reply("CLUSTER", "INFO")


def cluster_of_one(start: Start, tmp_path: Path) -> RedisServer:
    node = start("--cluster-enabled", "yes", "--cluster-port", str(free_port()))
    command(node.url, "CLUSTER", "ADDSLOTSRANGE", "0", "16383")
    wait_for(partial(is_ready, node))
    return node


# What the log says of a state: of readiness, and of the limit if it cannot count.
STATES: dict[Callable[[Start, Path], RedisServer], tuple[str, str | None]] = {
    out_of_memory: ("OutOfMemoryError: ", "OutOfMemoryError: "),
    read_only: ("ReadOnlyError: You can't write", "ReadOnlyError: You can't write"),
    unable_to_save: ("MISCONF Redis is configured to save", "MISCONF"),
    cluster: ("REDIS_URL leads to a cluster, which is not supported", "MovedError: "),
    cluster_of_one: ("REDIS_URL leads to a cluster, which is not supported", None),
}


@pytest.mark.parametrize("make", STATES)
def test_a_redis_that_takes_no_writes_is_seen(
    project: Path, start: Start, tmp_path: Path, make: Callable[[Start, Path], RedisServer]
) -> None:
    not_ready, not_counted = STATES[make]
    server = make(start, tmp_path)
    with serving(project, REDIS_URL=server.url, DEBUG="false", ALLOWED_HOSTS="*") as service:
        response = service.get("/readyz")
        assert response.status == 503
        assert response.json()["error"]["message"] == "Not ready: redis"
        # Of many keys, a cluster has some on another node.
        for number in range(20):
            assert service.get("/", X_Forwarded_For=f"192.0.2.{number}").status == 200
        assert post(service, "/tasks", {"message": "hello"})[0] == 503
        output = (project / "uvicorn.log").read_text(encoding="utf-8")
    lines = [json.loads(line)["message"] for line in output.splitlines()]

    def found(event: str, reason: str) -> bool:
        return any(event in line and reason in line for line in lines)

    assert found("not ready: redis: ", not_ready), lines
    assert found("a task could not be sent: ", "Error: "), lines
    assert not_counted is None or found("requests are not counted: ", not_counted), lines


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("redis+sentinel://:secret@one,two/main", "Redis Sentinel is not supported"),
        ("redis+cluster://:secret@one", "Redis Cluster is not supported"),
        ("redis://:sec?ret@one/0", "give a URL"),
        ("redis://one/secret", "name the database once"),
        ("redis://one/0?secret=1", "its parameters can be"),
    ],
)
def test_a_url_that_cannot_be_used_stops_the_start(project: Path, url: str, problem: str) -> None:
    program = f"""
import os, subprocess, sys
environ = os.environ | {{"REDIS_URL": {url!r}}}
for module in ("app.main", "app.worker"):
    command = [sys.executable, "-m", module]
    done = subprocess.run(command, env=environ, capture_output=True, text=True)
    assert done.returncode == 3, done
    assert {problem!r} in done.stderr, done
    assert "sec" not in done.stderr and not done.stdout, done
"""
    run(project, ".venv/bin/python", "-c", program)
