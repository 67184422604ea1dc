import pytest
from redis.exceptions import ConnectionError, OutOfMemoryError

from app.tasks import insist as module
from app.tasks.insist import insist

pytestmark = pytest.mark.anyio


async def test_a_write_is_tried_until_it_is_taken(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "PAUSE", 0)
    errors: list[Exception] = [ConnectionError(), OSError(), OutOfMemoryError("OOM")]

    async def write() -> str:
        if errors:
            raise errors.pop()
        return "taken"

    assert await insist(write) == "taken"
    (record,) = caplog.records
    assert "OOM" in record.message


async def test_a_mistake_is_not_tried_again() -> None:
    async def write() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await insist(write)
