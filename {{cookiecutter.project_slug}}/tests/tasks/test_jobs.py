import logging
from collections.abc import Callable

import pytest
from fastapi.testclient import TestClient

from app.tasks import create_context
from app.tasks.jobs import write_message


@pytest.mark.anyio
async def test_a_message_is_written(
    make_client: Callable[..., TestClient], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    context = create_context(make_client().app)  # type: ignore[arg-type]
    assert await write_message(context, "hello") == 5
    assert "hello" in caplog.text
