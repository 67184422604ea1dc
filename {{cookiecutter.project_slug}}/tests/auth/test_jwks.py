import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from app.auth import jwks
from app.auth.jwks import LIFETIME, MAX_ABSENT, PAUSE, JWKSKeys
from app.auth.keys import KeysUnavailable

RSA_JWK = jwt.algorithms.RSAAlgorithm.to_jwk(
    rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key(), as_dict=True
)
OTHER_JWK = jwt.algorithms.RSAAlgorithm.to_jwk(
    rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key(), as_dict=True
)
EC_JWK = jwt.algorithms.ECAlgorithm.to_jwk(
    ec.generate_private_key(ec.SECP256R1()).public_key(), as_dict=True
)


class Issuer:
    """Publishes keys, when it can."""

    def __init__(self) -> None:
        self.keys: Any = [RSA_JWK | {"kid": "a"}]
        self.is_down = False
        self.fetched = 0
        self.started = asyncio.Event()
        self.now = 1000.0

    async def load(self) -> dict[str, Any]:
        self.fetched += 1
        self.started.set()
        await asyncio.sleep(0)
        if self.is_down:
            raise OSError("no route to host")
        return {"keys": self.keys}

    def clock(self) -> float:
        return self.now


@pytest.fixture
def issuer() -> Issuer:
    return Issuer()


def run(issuer: Issuer, test: Callable[[JWKSKeys], Awaitable[None]], algorithm: str = "") -> None:
    async def call() -> None:
        await test(JWKSKeys(issuer.load, algorithm, clock=issuer.clock))

    asyncio.run(call())


async def find(keys: JWKSKeys, kid: str | None, algorithm: str = "RS256") -> list[str | None]:
    return [key.kid for key in await keys.find(kid, algorithm)]


def test_keys_are_fetched_once_however_many_requests_need_them(issuer: Issuer) -> None:
    async def test(keys: JWKSKeys) -> None:
        found = await asyncio.gather(*(find(keys, "a") for _ in range(20)))
        assert found == [["a"]] * 20
        assert issuer.fetched == 1

    run(issuer, test)


def test_a_request_that_is_cancelled_does_not_end_the_fetch_of_others(issuer: Issuer) -> None:
    async def test(keys: JWKSKeys) -> None:
        first = asyncio.create_task(find(keys, "a"))
        second = asyncio.create_task(find(keys, "a"))
        await issuer.started.wait()
        first.cancel()
        assert await second == ["a"]

    run(issuer, test)


def test_a_new_key_right_after_a_fetch_is_unavailable_until_the_next(issuer: Issuer) -> None:
    async def test(keys: JWKSKeys) -> None:
        assert await find(keys, "a") == ["a"]
        issuer.keys.append(OTHER_JWK | {"kid": "b"})
        issuer.now += 1
        for _ in range(3):
            with pytest.raises(KeysUnavailable) as refusal:
                await find(keys, "b")
            assert refusal.value.retry_after == PAUSE - 1
        assert issuer.fetched == 1
        issuer.now += PAUSE - 1
        found = await asyncio.gather(*(find(keys, "b") for _ in range(20)))
        assert found == [["b"]] * 20
        assert issuer.fetched == 2

    run(issuer, test)


def test_a_key_that_a_fetch_did_not_bring_is_unknown(issuer: Issuer) -> None:
    async def test(keys: JWKSKeys) -> None:
        for _ in range(3):
            assert await find(keys, "other") == []
        assert issuer.fetched == 1
        # And may be published later.
        issuer.now += PAUSE
        issuer.keys.append(OTHER_JWK | {"kid": "other"})
        assert await find(keys, "other") == ["other"]
        assert issuer.fetched == 2

    run(issuer, test)


def test_a_key_that_was_removed_is_unknown_at_once(issuer: Issuer) -> None:
    async def test(keys: JWKSKeys) -> None:
        await find(keys, "a")
        issuer.keys = [OTHER_JWK | {"kid": "b"}]
        issuer.now += LIFETIME
        assert await find(keys, "a") == ["a"]
        assert keys.renewal
        assert await keys.renewal
        assert await find(keys, "a") == []
        assert issuer.fetched == 2

    run(issuer, test)


def test_keys_without_a_name_are_renewed_as_well(issuer: Issuer) -> None:
    issuer.keys = [RSA_JWK]

    async def test(keys: JWKSKeys) -> None:
        assert await find(keys, None) == [None]
        issuer.keys = [EC_JWK]
        issuer.now += LIFETIME
        assert await find(keys, None, "ES256") == []
        assert keys.renewal
        assert await keys.renewal
        assert await find(keys, None, "ES256") == [None]

    run(issuer, test)


def test_only_so_many_unknown_keys_are_remembered(issuer: Issuer) -> None:
    async def test(keys: JWKSKeys) -> None:
        for number in range(MAX_ABSENT * 2):
            issuer.now += PAUSE
            assert await find(keys, str(number)) == []
            assert len(keys.absent) <= MAX_ABSENT

    run(issuer, test)


def test_old_keys_serve_while_they_are_renewed_and_while_the_issuer_is_down(
    issuer: Issuer,
) -> None:
    async def test(keys: JWKSKeys) -> None:
        await find(keys, "a")
        issuer.is_down = True
        issuer.now += LIFETIME
        for _ in range(3):
            assert await find(keys, "a") == ["a"]
            assert keys.renewal
            assert not await keys.renewal
        assert issuer.fetched == 2
        with pytest.raises(KeysUnavailable):
            await find(keys, "b")
        issuer.is_down = False
        issuer.now += PAUSE
        assert await find(keys, "a") == ["a"]
        assert keys.renewal
        assert await keys.renewal
        assert issuer.fetched == 3

    run(issuer, test)


def test_one_renewal_is_under_way_at_a_time(issuer: Issuer) -> None:
    async def test(keys: JWKSKeys) -> None:
        await find(keys, "a")
        issuer.now += LIFETIME
        await find(keys, "a")
        renewal = keys.renewal
        await find(keys, "a")
        assert keys.renewal is renewal
        assert renewal
        await renewal

    run(issuer, test)


def test_without_any_key_the_keys_are_unavailable(
    issuer: Issuer, caplog: pytest.LogCaptureFixture
) -> None:
    async def test(keys: JWKSKeys) -> None:
        issuer.is_down = True
        for _ in range(3):
            with pytest.raises(KeysUnavailable) as refusal:
                await find(keys, "a")
            assert refusal.value.retry_after == PAUSE
        assert issuer.fetched == 1
        issuer.is_down = False
        issuer.now += PAUSE
        assert await find(keys, "a") == ["a"]

    run(issuer, test)
    assert [record.message for record in caplog.records if record.levelno >= logging.WARNING] == [
        "cannot fetch the keys of the issuer: no route to host"
    ]


def test_a_fetch_has_a_deadline(
    issuer: Issuer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(jwks, "TIMEOUT", 0.01)

    async def load() -> dict[str, Any]:
        await asyncio.Event().wait()
        raise AssertionError

    issuer.load = load  # type: ignore[method-assign]

    async def test(keys: JWKSKeys) -> None:
        with pytest.raises(KeysUnavailable):
            await find(keys, "a")

    run(issuer, test)
    assert "within 0.01 seconds" in caplog.text


def test_keys_are_told_apart_by_algorithm_and_name(issuer: Issuer) -> None:
    issuer.keys = [RSA_JWK | {"kid": "a"}, EC_JWK | {"kid": "a"}, OTHER_JWK | {"kid": "b"}]

    async def test(keys: JWKSKeys) -> None:
        [key] = await keys.find("a", "RS256")
        assert key.algorithms == {"RS256"}
        [key] = await keys.find("a", "ES256")
        assert key.algorithms == {"ES256"}
        # One key of its algorithm needs no name; of two, none is chosen.
        assert await find(keys, None, "ES256") == ["a"]
        assert await find(keys, None) == []
        assert await find(keys, None, "ES512") == []
        assert await find(keys, "b", "ES256") == []
        assert issuer.fetched == 1

    run(issuer, test)


def test_keys_without_a_name_are_tried_for_every_token(issuer: Issuer) -> None:
    issuer.keys = [RSA_JWK, OTHER_JWK, EC_JWK]

    async def test(keys: JWKSKeys) -> None:
        assert await find(keys, None) == [None, None]
        assert await find(keys, "a") == [None, None]
        assert await find(keys, "a", "ES256") == [None]

    run(issuer, test)


def test_a_setting_leaves_one_algorithm(issuer: Issuer) -> None:
    issuer.keys = [RSA_JWK | {"kid": "a"}, EC_JWK | {"kid": "b"}]

    async def test(keys: JWKSKeys) -> None:
        assert await find(keys, "b", "ES256") == ["b"]
        assert await find(keys, None, "RS256") == []
        with pytest.raises(KeysUnavailable):
            await find(keys, "a", "RS256")

    run(issuer, test, "ES256")


@pytest.mark.parametrize("keys", [[], [EC_JWK | {"kid": "a"}], [None], None, {}, "keys"])
def test_a_set_without_a_usable_key_is_rejected(
    keys: Any, issuer: Issuer, caplog: pytest.LogCaptureFixture
) -> None:
    issuer.keys = keys

    async def test(keys: JWKSKeys) -> None:
        with pytest.raises(KeysUnavailable):
            await find(keys, "a")

    run(issuer, test, "RS256")
    assert "no key for RS256 in the JWK set" in caplog.text
