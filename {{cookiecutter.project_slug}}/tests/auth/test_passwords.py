import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Literal
from uuid import UUID

import pytest
from argon2 import PasswordHasher
from fastapi import HTTPException
from pydantic import TypeAdapter, ValidationError

from app.auth import passwords
from app.auth.models import User
from app.auth.passwords import NewPassword, Password, Passwords
from app.config import Settings


@pytest.fixture
def hasher(make_settings: Callable[..., Settings]) -> Passwords:
    return Passwords(make_settings())


def user(password_hash: str) -> User:
    return User(id=UUID(int=1), username="ada", password_hash=password_hash)


def test_a_hash_verifies_its_password_only(hasher: Passwords) -> None:
    hashed = asyncio.run(hasher.hash("correct horse"))
    assert hashed.startswith("$argon2id$v=19$m=19456,t=1,p=4$")
    assert asyncio.run(hasher.verify("correct horse", user(hashed))) == (True, None)
    assert asyncio.run(hasher.verify("correct horsf", user(hashed))) == (False, None)
    assert asyncio.run(hasher.hash("correct horse")) != hashed


def test_an_unknown_user_is_verified_against_a_dummy_hash_of_the_same_cost(
    hasher: Passwords,
) -> None:
    hashed = asyncio.run(hasher.hash("correct horse"))
    for password in ["", "correct horse"]:
        assert asyncio.run(hasher.verify(password, None)) == (False, None)
    shape = [len(part) for part in hashed.split("$")]
    assert [len(part) for part in hasher.dummy.split("$")] == shape
    assert hasher.dummy.split("$")[:4] == hashed.split("$")[:4]


def test_a_hash_with_other_costs_is_renewed(
    hasher: Passwords, make_settings: Callable[..., Settings]
) -> None:
    hashed = asyncio.run(hasher.hash("correct horse"))
    stronger = Passwords(make_settings(argon2_time_cost=2))
    assert asyncio.run(stronger.verify("correct horsf", user(hashed))) == (False, None)
    is_right, new_hash = asyncio.run(stronger.verify("correct horse", user(hashed)))
    assert is_right
    assert new_hash
    assert "t=2" in new_hash
    assert asyncio.run(stronger.verify("correct horse", user(new_hash))) == (True, None)


def test_passwords_are_hashed_in_a_limited_number_of_threads(
    hasher: Passwords, monkeypatch: pytest.MonkeyPatch
) -> None:
    running, most = 0, 0
    lock = threading.Lock()
    threads = set()

    class SlowHasher(PasswordHasher):
        def hash(self, password: str | bytes, *, salt: bytes | None = None) -> str:
            nonlocal running, most
            with lock:
                running += 1
                most = max(most, running)
                threads.add(threading.current_thread())
            threading.Event().wait(0.01)
            with lock:
                running -= 1
            return ""

    monkeypatch.setattr(hasher, "hasher", SlowHasher())

    async def hash_many() -> None:
        await asyncio.gather(*(hasher.hash("x") for _ in range(10)))

    asyncio.run(hash_many())
    assert most <= passwords.SLOTS
    assert threading.main_thread() not in threads


def test_a_full_queue_rejects_further_passwords(
    hasher: Passwords, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passwords, "QUEUE", 0)
    calls: list[Coroutine[Any, Any, object]] = [hasher.hash("x"), hasher.verify("x", None)]
    for call in calls:
        with pytest.raises(HTTPException) as caught:
            asyncio.run(call)
        assert caught.value.status_code == 503
        assert caught.value.headers == {"Retry-After": "5"}


@pytest.mark.parametrize(
    "password",
    ["x" * 129, "\N{FAMILY}" * 128 + "x", "\N{GRINNING FACE}" * 128 + "x", "\ufdfa" * 32],
)
def test_a_long_password_is_rejected(password: str) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Password).validate_python(password)


@pytest.mark.parametrize("password", ["", "x", "x" * 128, "\N{GRINNING FACE}" * 128, "a\0b"])
def test_any_other_password_may_be_tried(password: str, hasher: Passwords) -> None:
    assert TypeAdapter(Password).validate_python(password) == password
    hashed = asyncio.run(hasher.hash(password))
    assert asyncio.run(hasher.verify(password, user(hashed)))[0]
    assert not asyncio.run(hasher.verify(password[:-1] + "y", user(hashed)))[0]


@pytest.mark.parametrize(
    ("password", "message"),
    [
        ("purple dishwas", "at least 15"),
        ("\0" * 15, "control characters"),
        ("purple dishwasher\n", "control characters"),
        ("purple dishwasher\x85", "control characters"),
        ("passwordpassword", "easy to guess"),
        ("ｐａｓｓｗｏｒｄpassword", "easy to guess"),
    ],
)
def test_a_short_or_common_password_is_no_new_password(password: str, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TypeAdapter(NewPassword).validate_python(password)


@pytest.mark.parametrize(
    "password", ["purple dishwash", "PURPLE 123 £ ünï", "紫の洗濯機と正しい馬と電池と栓"]
)
def test_a_new_password_may_have_any_kind_of_characters(password: str) -> None:
    assert TypeAdapter(NewPassword).validate_python(password) == password


@pytest.mark.parametrize(
    "password_hash",
    [
        "",
        "hunter2",
        "hünter2",
        "$2b$12$KIXQ4S3WQ9iF0r6v1c1rE.0k3m1",
        "$argon2id$",
        "$argon2id$v=19$m=19456,t=1,p=4$c2FsdA$",
        "$argon2id$v=19$m=19456,t=1,p=4$not base64$not base64",
        "$argon2id$v=19$m=1,t=0,p=0$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA",
    ],
)
def test_an_invalid_hash_matches_no_password_takes_as_long_and_is_logged(
    password_hash: str,
    hasher: Passwords,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    verified = []

    class Watched(PasswordHasher):
        def verify(self, hash: str | bytes, password: str | bytes) -> Literal[True]:
            verified.append(hash)
            return super().verify(hash, password)

    monkeypatch.setattr(hasher, "hasher", Watched(1, 19_456, 4))
    assert asyncio.run(hasher.verify("hunter2", user(password_hash))) == (False, None)
    assert verified == [password_hash, hasher.dummy]
    [record] = caplog.records
    assert record.getMessage() == f"user {UUID(int=1)}: the stored password hash is not valid"
    assert record.exc_info is None


def test_equivalent_unicode_forms_are_the_same_password() -> None:
    adapter = TypeAdapter[str](Password)
    assert adapter.validate_python("u\u0308") == adapter.validate_python("\u00fc")
