"""The rate limit of a generated service, in several processes and during outages of Redis."""

import http.client
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import pytest

from tests.conftest import Bake
from tests.support.redis_server import RedisServer
from tests.support.service import Service, copied, serving

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("rate_limit")]


@pytest.fixture(scope="module")
def projects(install: Bake) -> list[Path]:
    """Install two projects with a rate limit."""
    return [install(use_rate_limit=True) for _ in range(2)]


@pytest.fixture(scope="module")
def project(projects: list[Path]) -> Path:
    """Return one of the projects."""
    return projects[0]


def send(services: list[Service], requests: int, clients: int = 20) -> Counter[int]:
    """Send requests to the services in turn, by concurrent clients, and count the statuses."""

    def run(number: int) -> list[int]:
        statuses = []
        connections = [
            http.client.HTTPConnection(urlsplit(service.address).netloc, timeout=10)
            for service in services
        ]
        for turn in range(requests // clients):
            connection = connections[(number + turn) % len(connections)]
            connection.request("GET", "/")
            response = connection.getresponse()
            response.read()
            statuses.append(response.status)
        for connection in connections:
            connection.close()
        return statuses

    with ThreadPoolExecutor(clients) as pool:
        return Counter(status for statuses in pool.map(run, range(clients)) for status in statuses)


def slowest(request: Callable[[], object]) -> float:
    """Return the time of the slowest of many requests in seconds, in the best of several rounds.

    A round is longer than the pause between two calls to an unavailable Redis, so some of its
    requests wait for Redis. One round may be slow because the machine is busy, but not all are.
    """

    def seconds() -> float:
        started = time.perf_counter()
        request()
        return time.perf_counter() - started

    def one_round() -> float:
        times = []
        end = time.monotonic() + 1.2
        while time.monotonic() < end:
            times.append(seconds())
        return max(times)

    return min(one_round() for _ in range(5))


def test_two_processes_share_an_exact_limit(projects: list[Path], redis: RedisServer) -> None:
    settings = {"RATE_LIMIT": "100/minute", "REDIS_URL": redis.url}
    with ExitStack() as stack:
        services = [stack.enter_context(serving(project, **settings)) for project in projects]
        assert send(services, 1000) == {200: 100, 429: 900}


def test_one_process_has_an_exact_limit(project: Path) -> None:
    with serving(project, RATE_LIMIT="100/minute") as service:
        assert send([service], 1000) == {200: 100, 429: 900}


@pytest.mark.parametrize(("choice", "status"), [("allow", 200), ("refuse", 503)])
def test_requests_are_allowed_or_rejected_while_redis_is_unavailable(
    project: Path, redis: RedisServer, choice: str, status: int
) -> None:
    settings = {"RATE_LIMIT": "3/minute", "RATE_LIMIT_ON_STORE_ERROR": choice}
    with serving(project, REDIS_URL=redis.url, **settings) as service:

        def statuses(requests: int) -> list[int]:
            return [service.get("/").status for _ in range(requests)]

        def returns() -> bool:
            response = service.get("/")
            return response.status == 200 and "RateLimit-Limit" in response.headers

        assert statuses(4) == [200, 200, 200, 429]

        redis.freeze()
        assert slowest(lambda: statuses(1)) < 0.1
        assert statuses(5) == [status] * 5
        assert service.get("/healthz").status == 200
        redis.thaw()
        wait_for(lambda: statuses(1) == [429])

        redis.kill()
        assert slowest(lambda: statuses(1)) < 0.1
        assert statuses(5) == [status] * 5
        redis.start()
        wait_for(returns)

        log = (project / "uvicorn.log").read_text(encoding="utf-8")
        assert log.count("Redis is unavailable") == 2
        assert log.count("Redis is available again") == 2


def test_two_processes_share_the_limit_on_logins(
    install: Bake, redis: RedisServer, tmp_path: Path
) -> None:
    project = install(use_rate_limit=True, jwt="issue", database="sqlite")
    settings = {"LOGIN_LIMIT": "5/hour", "LOGIN_LIMIT_ADDRESS": "1000/hour"}

    def log_in(service: Service, name: str) -> int:
        connection = http.client.HTTPConnection(urlsplit(service.address).netloc, timeout=10)
        form = urlencode({"username": name, "password": "wrong"})
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        connection.request("POST", "/token", form, kind)
        with closing(connection), connection.getresponse() as response:
            return response.status

    with ExitStack() as stack:
        services = [
            stack.enter_context(serving(each, REDIS_URL=redis.url, **settings))
            for each in (project, copied(project, tmp_path / "other"))
        ]
        attempts = [log_in(services[number % 2], "ada") for number in range(7)]
        assert attempts == [401] * 5 + [429] * 2
        # Without Redis, each process counts its own attempts.
        redis.kill()
        assert [log_in(services[0], "bob") for _ in range(6)] == [401] * 5 + [429]
        assert log_in(services[1], "bob") == 401


def test_only_a_trusted_proxy_sets_the_client_address(project: Path) -> None:
    def statuses(service: Service, *forwarded: str) -> list[int]:
        return [service.get("/", X_Forwarded_For=value).status for value in forwarded]

    forged = [f"198.51.100.{number}" for number in range(4)]
    with serving(project, RATE_LIMIT="2/minute", FORWARDED_ALLOW_IPS="192.0.2.1") as service:
        assert statuses(service, *forged) == [200, 200, 429, 429]
    # A proxy appends the address that it sees; what precedes it was sent by the client.
    added = [f"{address}, 203.0.113.7" for address in forged]
    with serving(project, RATE_LIMIT="2/minute", FORWARDED_ALLOW_IPS="127.0.0.1") as service:
        assert statuses(service, *added) == [200, 200, 429, 429]
        assert statuses(service, *forged) == [200, 200, 200, 200]


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until a condition is true, for at most five seconds."""
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
