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


def test_a_password_is_known_by_its_hash(hasher: Passwords) -> None:
    hashed = asyncio.run(hasher.hash("correct horse"))
    assert hashed.startswith("$argon2id$v=19$m=19456,t=1,p=4$")
    assert asyncio.run(hasher.verify("correct horse", hashed)) == (True, None)
    assert asyncio.run(hasher.verify("correct horsf", hashed)) == (False, None)
    assert asyncio.run(hasher.hash("correct horse")) != hashed


def test_nobody_has_no_password_which_costs_as_much_to_find_out(hasher: Passwords) -> None:
    hashed = asyncio.run(hasher.hash("correct horse"))
    for password in ["", "correct horse"]:
        assert asyncio.run(hasher.verify(password, None)) == (False, None)
    shape = [len(part) for part in hashed.split("$")]
    assert [len(part) for part in hasher.dummy.split("$")] == shape
    assert hasher.dummy.split("$")[:4] == hashed.split("$")[:4]
    # The library takes it for a hash: otherwise it would refuse at once.
    assert Argon2Hasher.identify(hasher.dummy)


def test_a_hash_of_other_costs_is_renewed(
    hasher: Passwords, make_settings: Callable[..., Settings]
) -> None:
    hashed = asyncio.run(hasher.hash("correct horse"))
    dearer = Passwords(make_settings(argon2_time_cost=2))
    assert asyncio.run(dearer.verify("correct horsf", hashed)) == (False, None)
    is_right, new_hash = asyncio.run(dearer.verify("correct horse", hashed))
    assert is_right
    assert new_hash
    assert "t=2" in new_hash
    assert asyncio.run(dearer.verify("correct horse", new_hash)) == (True, None)


def test_a_few_are_hashed_at_a_time_elsewhere(
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


def test_who_would_wait_too_long_is_told_to_come_back(
    hasher: Passwords, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passwords, "QUEUE", 0)
    calls: list[Coroutine[Any, Any, object]] = [hasher.hash("x"), hasher.verify("x", None)]
    for call in calls:
        with pytest.raises(HTTPException) as refusal:
            asyncio.run(call)
        assert refusal.value.status_code == 503
        assert refusal.value.headers == {"Retry-After": "5"}


@pytest.mark.parametrize(
    "password",
    ["x" * 129, "\N{FAMILY}" * 128 + "x", "\N{GRINNING FACE}" * 128 + "x", "\ufdfa" * 32],
)
def test_a_password_has_a_length(password: str) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Password).validate_python(password)


@pytest.mark.parametrize("password", ["", "x", "x" * 128, "\N{GRINNING FACE}" * 128, "a\0b"])
def test_what_is_tried_may_be_anything_else(password: str, hasher: Passwords) -> None:
    assert TypeAdapter(Password).validate_python(password) == password
    hashed = asyncio.run(hasher.hash(password))
    assert asyncio.run(hasher.verify(password, hashed))[0]
    assert not asyncio.run(hasher.verify(password[:-1] + "y", hashed))[0]


def test_what_is_chosen_has_eight_characters() -> None:
    assert TypeAdapter(NewPassword).validate_python("x" * 8)
    with pytest.raises(ValidationError, match="at least 8"):
        TypeAdapter(NewPassword).validate_python("x" * 7)


def test_a_password_is_the_same_from_every_keyboard() -> None:
    adapter = TypeAdapter[str](Password)
    assert adapter.validate_python("u\u0308") == adapter.validate_python("\u00fc")
