import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from fastapi import HTTPException
from pwdlib.hashers.argon2 import Argon2Hasher
from pydantic import TypeAdapter, ValidationError

from app.auth import passwords
from app.auth.passwords import NewPassword, Password, Passwords
from app.config import Settings


@pytest.fixture
def hasher(make_settings: Callable[..., Settings]) -> Passwords:
    return Passwords(make_settings())


def test_a_hash_verifies_its_password_only(hasher: Passwords) -> None:
    hashed = asyncio.run(hasher.hash("correct horse"))
    assert hashed.startswith("$argon2id$v=19$m=19456,t=1,p=4$")
    assert asyncio.run(hasher.verify("correct horse", hashed)) == (True, None)
    assert asyncio.run(hasher.verify("correct horsf", hashed)) == (False, None)
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
    # Otherwise the library would reject it without hashing the password.
    assert Argon2Hasher.identify(hasher.dummy)


def test_a_hash_with_other_costs_is_renewed(
    hasher: Passwords, make_settings: Callable[..., Settings]
) -> None:
    hashed = asyncio.run(hasher.hash("correct horse"))
    stronger = Passwords(make_settings(argon2_time_cost=2))
    assert asyncio.run(stronger.verify("correct horsf", hashed)) == (False, None)
    is_right, new_hash = asyncio.run(stronger.verify("correct horse", hashed))
    assert is_right
    assert new_hash
    assert "t=2" in new_hash
    assert asyncio.run(stronger.verify("correct horse", new_hash)) == (True, None)


def test_passwords_are_hashed_in_a_limited_number_of_threads(
    hasher: Passwords, monkeypatch: pytest.MonkeyPatch
) -> None:
    running, most = 0, 0
    lock = threading.Lock()
    threads = set()

    def hash_slowly(password: str) -> str:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
            threads.add(threading.current_thread())
        threading.Event().wait(0.01)
        with lock:
            running -= 1
        return ""

    monkeypatch.setattr(hasher.hasher, "hash", hash_slowly)

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
    assert asyncio.run(hasher.verify(password, hashed))[0]
    assert not asyncio.run(hasher.verify(password[:-1] + "y", hashed))[0]


def test_a_new_password_has_at_least_eight_characters() -> None:
    assert TypeAdapter(NewPassword).validate_python("x" * 8)
    with pytest.raises(ValidationError, match="at least 8"):
        TypeAdapter(NewPassword).validate_python("x" * 7)


def test_equivalent_unicode_forms_are_the_same_password() -> None:
    adapter = TypeAdapter[str](Password)
    assert adapter.validate_python("u\u0308") == adapter.validate_python("\u00fc")
