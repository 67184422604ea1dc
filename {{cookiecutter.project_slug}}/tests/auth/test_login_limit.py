import asyncio
from collections.abc import Awaitable

import pytest
from fastapi import HTTPException

from app.auth.login_limit import LoginLimit
from app.core.client_address import network_of
from app.limits.limit import Limit, WindowState
from app.limits.memory_limiter import MemoryLimiter


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def limit(clock: Clock) -> LoginLimit:
    limiter = MemoryLimiter(clock=clock)
    return LoginLimit(by_name=Limit(2, 60), by_address=Limit(3, 60), limiter=limiter)


def is_open(check: Awaitable[None]) -> bool:
    async def run() -> None:
        await check

    try:
        asyncio.run(run())
    except HTTPException as error:
        assert error.status_code == 429
        assert error.headers
        assert 0 < int(error.headers["Retry-After"]) <= 61
        return False
    return True


def attempts(limit: LoginLimit, *networks: str, name: str = "ada") -> list[bool]:
    return [is_open(limit.check_name(name, network)) for network in networks]


def test_attempts_for_one_name_from_one_address_are_limited(
    limit: LoginLimit, clock: Clock
) -> None:
    assert attempts(limit, *["192.0.2.1"] * 3) == [True, True, False]
    assert attempts(limit, "192.0.2.1", name="bob") == [True]
    clock.now += 59
    assert attempts(limit, "192.0.2.1") == [False]
    clock.now += 2
    assert attempts(limit, "192.0.2.1") == [True]


def test_attempts_of_others_slow_a_user_down_but_do_not_lock_them_out(clock: Clock) -> None:
    limiter = MemoryLimiter(clock=clock)
    limit = LoginLimit(by_name=Limit(10, 60), by_address=Limit(1000, 60), limiter=limiter)
    assert attempts(limit, *["192.0.2.1"] * 11) == [True] * 10 + [False]
    assert attempts(limit, *["192.0.2.2"] * 3) == [True, True, False]
    # However many addresses there are.
    attackers = [f"192.0.2.{number}" for number in range(3, 103)]
    assert sum(attempts(limit, *attackers * 10)) == 200
    assert attempts(limit, "198.51.100.1", "198.51.100.1") == [True, True]
    clock.now += 121
    assert attempts(limit, *["192.0.2.2"] * 3) == [True] * 3


def test_a_user_who_is_slowed_down_has_one_attempt_at_least(limit: LoginLimit) -> None:
    assert attempts(limit, *["192.0.2.1"] * 3) == [True, True, False]
    assert attempts(limit, *["192.0.2.2"] * 2) == [True, False]


@pytest.mark.parametrize(
    "hosts",
    [
        ["192.0.2.1"] * 4,
        [""] * 4,
        ["2001:db8::1", "2001:db8::2", "2001:db8:0:0:ffff::", "2001:db8::"],
        ["192.0.2.1", "::ffff:192.0.2.1", "192.0.2.1", "::ffff:192.0.2.1"],
    ],
    ids=["IPv4", "none", "IPv6", "mapped"],
)
def test_attempts_from_one_address_are_limited(hosts: list[str], limit: LoginLimit) -> None:
    networks = map(network_of, hosts)
    assert [is_open(limit.check_address(network)) for network in networks] == [True] * 3 + [False]
    assert is_open(limit.check_address(network_of("2001:db8:0:1::1")))
    assert is_open(limit.check_address("192.0.2.2"))


def test_names_and_addresses_are_counted_separately(limit: LoginLimit) -> None:
    assert [is_open(limit.check_address("ada")) for _ in range(4)][-1] is False
    assert attempts(limit, "ada") == [True]


def test_attempts_are_counted_in_memory_while_the_store_is_unavailable() -> None:
    class UnavailableLimiter:
        async def hit(self, key: str, limit: Limit) -> WindowState | None:
            return None

    limit = LoginLimit(by_name=Limit(2, 60), by_address=Limit(1, 60), limiter=UnavailableLimiter())
    assert attempts(limit, *["192.0.2.1"] * 3) == [True, True, False]
