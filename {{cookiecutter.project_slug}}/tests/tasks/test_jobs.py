import logging

import pytest

from app.tasks.jobs import write_message


@pytest.mark.anyio
async def test_a_message_is_written(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    assert await write_message("hello") == 5
    assert "hello" in caplog.text
