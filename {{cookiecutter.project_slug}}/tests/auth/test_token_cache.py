import json
import tracemalloc

from app.auth.claims import freeze
from app.auth.keys import Key
from app.auth.token_cache import TokenCache, VerifiedToken
from app.auth.tokens import TokenUser

KEY = Key("a", frozenset(["HS256"]), b"secret")


def verified(claims: str = '{"sub": "1"}') -> VerifiedToken:
    user = TokenUser(freeze(json.loads(claims)), ("a",))
    return VerifiedToken(user, "a", "HS256", KEY, 0)


def test_a_token_is_found_again() -> None:
    cache = TokenCache()
    entry = verified()
    assert cache.get(b"token") is None
    cache.add(b"token", entry)
    assert cache.get(b"token") is entry
    assert cache.get(b"tokeN") is None
    cache.discard(b"token")
    assert cache.get(b"token") is None
    assert cache.size == 0
    cache.discard(b"token")
    assert cache.size == 0


def test_a_token_is_counted_once() -> None:
    cache = TokenCache()
    cache.add(b"token", verified())
    size = cache.size
    cache.add(b"token", verified())
    assert cache.size == size


def test_the_oldest_make_room() -> None:
    cache = TokenCache()
    cache.add(b"0", verified())
    cache = TokenCache(max_bytes=cache.size * 3)
    for number in range(5):
        cache.add(b"%d" % number, verified())
    assert [cache.get(b"%d" % number) is not None for number in range(5)] == [
        False,
        False,
        True,
        True,
        True,
    ]


def test_no_token_is_in_memory() -> None:
    cache = TokenCache()
    cache.add(b"header.payload.signature", verified())
    assert b"payload" not in repr(cache.entries).encode()


def test_memory_is_bounded_whatever_the_claims() -> None:
    shapes = [
        {"sub": "1", "groups": [f"{number:036}" for number in range(300)]},
        {"sub": "1", "numbers": [number * 1000 for number in range(2000)]},
        {"sub": "1", "lists": [[number] for number in range(1500)]},
        {"sub": "1", "objects": [{"a": number} for number in range(1200)]},
    ]
    cache = TokenCache(max_bytes=1_000_000)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for number in range(40):
            cache.add(b"%d" % number, verified(json.dumps(shapes[number % 4])))
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert cache.entries
    assert after - before < 1_100_000
    assert cache.size <= cache.max_bytes
