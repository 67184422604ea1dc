import asyncio
from base64 import urlsafe_b64encode
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import delete, func, select, update

from app import db
from app.auth import refresh
from app.auth.models import Login, User
from app.config import Settings
from app.db.sessions import Sessions, create_sessions

Test = Callable[[Sessions], Awaitable[None]]
GRACE = 10

pytestmark = pytest.mark.usefixtures("database")


@pytest.fixture
def run(make_settings: Callable[..., Settings]) -> Callable[[Test], None]:
    def run(test: Test) -> None:
        async def call() -> None:
            engine = db.create_engine(make_settings())
            try:
                await test(create_sessions(engine))
            finally:
                await engine.dispose()

        asyncio.run(call())

    return run


async def log_in(sessions: Sessions, username: str = "ada") -> str:
    async with sessions.begin() as session:
        user = await session.scalar(select(User).where(User.username == username))
        if user is None:
            user = User(username=username, password_hash="")
            session.add(user)
            await session.flush()
        return await refresh.start(session, user, "a b", 3600)


async def rotate(sessions: Sessions, token: str, grace: int = GRACE) -> str | None:
    async with sessions.begin() as session:
        rotation = await refresh.rotate(session, token, grace)
    return rotation.token if rotation else None


async def change(sessions: Sessions, **values: Any) -> None:
    async with sessions.begin() as session:
        await session.execute(update(Login).values(**values))


async def count(sessions: Sessions) -> int:
    async with sessions() as session:
        return await session.scalar(select(func.count()).select_from(Login)) or 0


def test_a_token_is_exchanged_for_a_new_one_of_the_same_login(run: Callable[[Test], None]) -> None:
    async def test(sessions: Sessions) -> None:
        token = await log_in(sessions)
        seen = {token}
        for _ in range(3):
            async with sessions.begin() as session:
                rotation = await refresh.rotate(session, token, 0)
            assert rotation
            assert rotation.user.username == "ada"
            assert rotation.scopes == "a b"
            token = rotation.token
            seen.add(token)
        assert len(seen) == 4
        assert await count(sessions) == 1

    run(test)


def test_the_values_in_the_database_are_not_usable_as_a_token(run: Callable[[Test], None]) -> None:
    async def test(sessions: Sessions) -> None:
        token = await log_in(sessions)
        async with sessions() as session:
            login = await session.scalar(select(Login))
        assert login
        for value in (login.digest, login.seed, login.previous_digest):
            stolen = urlsafe_b64encode(login.id.bytes + value).decode()
            assert stolen != token

    run(test)


def test_two_tabs_get_the_same_token(run: Callable[[Test], None]) -> None:
    async def test(sessions: Sessions) -> None:
        token = await log_in(sessions)
        for _ in range(5):
            tabs = await asyncio.gather(*(rotate(sessions, token) for _ in range(4)))
            assert len(set(tabs)) == 1
            assert tabs[0]
            assert tabs[0] != token
            token = tabs[0]
        assert await count(sessions) == 1

    run(test)


def test_without_grace_concurrent_use_ends_the_login(run: Callable[[Test], None]) -> None:
    async def test(sessions: Sessions) -> None:
        token = await log_in(sessions)
        tabs = await asyncio.gather(*(rotate(sessions, token, 0) for _ in range(4)))
        assert len([tab for tab in tabs if tab]) == 1
        assert await count(sessions) == 0

    run(test)


def test_reuse_of_a_replaced_token_ends_the_login(
    run: Callable[[Test], None], caplog: pytest.LogCaptureFixture
) -> None:
    async def test(sessions: Sessions) -> None:
        stolen = await log_in(sessions)
        other = await log_in(sessions)
        token = await rotate(sessions, stolen)
        assert token
        await change(sessions, rotated_at=datetime.now(UTC) - timedelta(seconds=GRACE + 1))
        assert await rotate(sessions, stolen) is None
        assert await rotate(sessions, token) is None
        assert await rotate(sessions, other)
        assert await count(sessions) == 1

    run(test)
    [record] = [record for record in caplog.records if record.name == refresh.logger.name]
    assert record.getMessage().startswith("refresh token reused; ended a login of user ")


def test_reuse_of_a_token_that_was_replaced_twice_ends_the_login_without_grace(
    run: Callable[[Test], None],
) -> None:
    async def test(sessions: Sessions) -> None:
        stolen = await log_in(sessions)
        second = await rotate(sessions, stolen)
        assert second
        third = await rotate(sessions, second)
        assert third
        assert await rotate(sessions, stolen) is None
        assert await rotate(sessions, third) is None

    run(test)


def test_reuse_within_the_grace_is_detected_at_the_next_use(run: Callable[[Test], None]) -> None:
    async def test(sessions: Sessions) -> None:
        stolen = await log_in(sessions)
        thief, victim = await rotate(sessions, stolen), await rotate(sessions, stolen)
        assert thief == victim
        assert thief
        assert victim
        assert await rotate(sessions, thief)
        await change(sessions, rotated_at=datetime.now(UTC) - timedelta(seconds=GRACE + 1))
        assert await rotate(sessions, victim) is None
        assert await count(sessions) == 0

    run(test)


def test_refreshing_does_not_extend_a_login(run: Callable[[Test], None]) -> None:
    async def test(sessions: Sessions) -> None:
        token = await rotate(sessions, await log_in(sessions))
        assert token
        async with sessions() as session:
            login = await session.scalar(select(Login))
        assert login
        assert login.expires_at <= datetime.now(UTC) + timedelta(seconds=3600)
        await change(sessions, expires_at=datetime.now(UTC))
        assert await rotate(sessions, token) is None

    run(test)


def test_a_new_login_deletes_expired_logins(run: Callable[[Test], None]) -> None:
    async def test(sessions: Sessions) -> None:
        for _ in range(3):
            await log_in(sessions)
        await change(sessions, expires_at=datetime.now(UTC))
        await log_in(sessions, "bob")
        assert await count(sessions) == 1

    run(test)


def test_a_login_is_revoked_by_any_of_its_tokens(run: Callable[[Test], None]) -> None:
    async def test(sessions: Sessions) -> None:
        for use in [1, 2]:
            first = await log_in(sessions)
            second = await rotate(sessions, first)
            assert second
            async with sessions.begin() as session:
                await refresh.revoke(session, first if use == 1 else second)
            assert await rotate(sessions, second) is None
            assert await count(sessions) == 0

    run(test)


def test_deactivating_or_deleting_a_user_ends_their_logins(run: Callable[[Test], None]) -> None:
    async def test(sessions: Sessions) -> None:
        token = await log_in(sessions)
        async with sessions.begin() as session:
            await session.execute(update(User).values(is_active=False))
        assert await rotate(sessions, token) is None
        assert await count(sessions) == 0
        await log_in(sessions)
        async with sessions.begin() as session:
            await session.execute(delete(User))
        assert await count(sessions) == 0

    run(test)


MALFORMED_TOKENS = [
    "",
    "x",
    "=",
    "ä",
    "A" * 63,
    "A" * 64,
    "A" * 10_000,
    "AAAA=AAAA",
    "\0" * 64,
    "-_" * 32,
]


def test_malformed_tokens_are_rejected(run: Callable[[Test], None]) -> None:
    async def test(sessions: Sessions) -> None:
        await log_in(sessions)
        for token in MALFORMED_TOKENS:
            assert await rotate(sessions, token) is None
            async with sessions.begin() as session:
                await refresh.revoke(session, token)
        assert await count(sessions) == 1

    run(test)


def test_the_id_of_a_login_is_not_enough(run: Callable[[Test], None]) -> None:
    async def test(sessions: Sessions) -> None:
        await log_in(sessions)
        async with sessions() as session:
            login_id = await session.scalar(select(Login.id))
        assert isinstance(login_id, UUID)
        assert (
            await rotate(sessions, urlsafe_b64encode(login_id.bytes + bytes(32)).decode()) is None
        )

    run(test)
