from collections.abc import Callable

import pytest
from fastapi.testclient import TestClient

from app.config import Settings
from app.core.settings import CoreSettings
from app.tasks import create_context


class MailSettings(CoreSettings):
    """Settings that are not a part of those of the service."""


def test_a_task_gets_the_settings_as_the_class_that_it_needs(
    make_client: Callable[..., TestClient],
) -> None:
    context = create_context(make_client(log_level="WARNING").app)  # type: ignore[arg-type]
    assert context.get_settings(Settings) is context.settings
    assert context.get_settings(CoreSettings).log_level == "WARNING"
    with pytest.raises(TypeError, match="let Settings in app/config.py inherit MailSettings"):
        context.get_settings(MailSettings)
