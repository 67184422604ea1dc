import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from typing import Any
from uuid import UUID

import pytest
from pydantic import BaseModel

from app.tasks import TaskContext
from app.tasks.errors import InvalidArguments, TaskTimeout
from app.tasks.job import Job

pytestmark = pytest.mark.anyio


class Size(BaseModel):
    width: int


class Context(TaskContext):
    """The context of a task that uses nothing of it."""

    def __init__(self) -> None: ...


async def run(function: Callable[..., Any], *args: Any, limit: float = 5, **kwargs: Any) -> Any:
    return await Job(function).run(Context(), args, kwargs, limit=limit)


async def describe(context: TaskContext, id: UUID, day: date, size: Size, *, times: int = 1) -> Any:
    return type(context).__name__, id, day, size, times


async def test_arguments_are_what_the_annotations_say() -> None:
    id = "12345678123456781234567812345678"
    result = await run(describe, id, "2030-01-31", {"width": 3}, times=2)
    assert result == ("Context", UUID(id), date(2030, 1, 31), Size(width=3), 2)


def test_arguments_are_packed_as_json() -> None:
    id = UUID("12345678123456781234567812345678")
    packed = Job(describe).pack([id, date(2030, 1, 31), Size(width=3)], {"times": 2})
    assert packed == ((str(id), "2030-01-31", {"width": 3}), {"times": 2})


FIT = [UUID(int=1), date(2030, 1, 31), Size(width=3)]


@pytest.mark.parametrize(
    ("args", "kwargs", "problem"),
    [
        ([], {}, "id: Missing required argument; day: Missing required argument; size: Missing"),
        (["secret", *FIT[1:]], {}, "id: Input should be a valid UUID"),
        ([*FIT[:2], {"width": "secret"}], {}, "size.width: Input should be a valid integer"),
        ([*FIT, "secret", "secret"], {}, "times: Unexpected positional argument; 4: Unexpected"),
        (FIT, {"other": "secret"}, "other: Unexpected keyword argument"),
    ],
)
async def test_arguments_that_do_not_fit_are_rejected_and_not_shown(
    args: list[Any], kwargs: dict[str, Any], problem: str
) -> None:
    with pytest.raises(InvalidArguments, match=f"^describe: {problem}") as caught:
        Job(describe).pack(args, kwargs)
    assert "secret" not in str(caught.value)
    with pytest.raises(InvalidArguments):
        await run(describe, *args, **kwargs)


async def test_without_annotations_arguments_pass_as_they_are() -> None:
    def collect(one, /, *more, **others):  # type: ignore[no-untyped-def]
        return one, more, others

    assert await run(collect, 1, "2", three=[3]) == (1, ("2",), {"three": [3]})


async def test_a_plain_function_runs_in_a_thread() -> None:
    def ident(context: TaskContext) -> int:
        return threading.get_ident()

    assert await run(ident) != threading.get_ident()


async def test_an_exception_of_the_function_passes() -> None:
    async def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await run(fail)


async def test_an_async_function_ends_at_the_limit() -> None:
    cancelled = asyncio.Event()

    async def hang() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    with pytest.raises(TaskTimeout, match="hang took longer than TASK_TIMEOUT, 0.01 s"):
        await run(hang, limit=0.01)
    assert cancelled.is_set()


async def test_a_timeout_of_the_function_is_its_own() -> None:
    async def fail() -> None:
        raise TimeoutError("another one")

    with pytest.raises(TimeoutError, match="another one"):
        await run(fail)


async def test_a_thread_is_left_alone_at_the_limit_but_watched() -> None:
    began, gate, ended = threading.Event(), threading.Event(), threading.Event()

    def hang() -> None:
        began.set()
        gate.wait(60)

    @contextmanager
    def watch() -> Iterator[None]:
        yield
        ended.set()

    # A busy machine may need longer to start a thread.
    limits = iter([0.01, 0.1, 1, 10])
    while not began.is_set():
        with pytest.raises(TaskTimeout):
            await Job(hang).run(Context(), [], {}, limit=next(limits), watch=watch)
    assert not ended.is_set()
    gate.set()
    assert ended.wait(60)
