import importlib
import runpy
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from taskiq.cli.worker.args import WorkerArgs
from taskiq.cli.worker.run import get_receiver_type

from app.config import Settings
from app.tasks import TaskContext
from app.tasks.receiver import TaskReceiver
from app.tasks.watchdog import GRACE

NAME = "app.worker"


@pytest.fixture
def load(
    monkeypatch: pytest.MonkeyPatch, make_settings: Callable[..., Settings]
) -> Callable[..., ModuleType]:
    """Return a function that imports the module with changed settings, and keeps logging as it is."""

    def load(**changes: Any) -> ModuleType:
        monkeypatch.setattr("app.config.get_settings", lambda: make_settings(**changes))
        monkeypatch.setattr("app.core.logging.configure_logging", lambda settings: None)
        monkeypatch.delitem(sys.modules, NAME, raising=False)
        return importlib.import_module(NAME)

    return load


def test_workers_run_with_the_settings(
    load: Callable[..., ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[WorkerArgs] = []
    worker = load(redis_url="redis://127.0.0.1:1/0", task_shutdown_timeout=7)
    monkeypatch.setattr(worker, "run_worker", calls.append)
    monkeypatch.setattr(sys, "argv", ["worker", "--workers", "4"])
    assert worker.main() is None
    (args,) = calls
    assert args.broker == f"{NAME}:broker"
    assert args.workers == 4
    assert args.wait_tasks_timeout == 7
    assert not args.configure_logging
    assert args.no_parse
    assert get_receiver_type(args) is TaskReceiver


def test_workers_require_redis(
    load: Callable[..., ModuleType], capsys: pytest.CaptureFixture[str]
) -> None:
    load()
    sys.modules.pop(NAME)
    with pytest.raises(SystemExit) as caught:
        runpy.run_module(NAME, run_name="__main__")
    assert caught.value.code == 3
    assert capsys.readouterr().err.startswith("REDIS_URL: is required by workers")


@pytest.mark.anyio
@pytest.mark.parametrize("url", ["", "redis://127.0.0.1:1/0"])
async def test_tasks_of_a_worker_get_what_they_need(
    load: Callable[..., ModuleType], url: str
) -> None:
    worker = load(redis_url=url, task_timeout=7)
    worker.broker.is_worker_process = True
    await worker.broker.startup()
    context: TaskContext = worker.broker.state.context
    assert context.get_settings(Settings) is worker.settings
    assert worker.watchdog.limit == 7 + GRACE
    assert not worker.watchdog.stopped.is_set()
    await worker.broker.shutdown()
    assert worker.watchdog.stopped.is_set()
