import logging
import threading

import pytest

from app.tasks.watchdog import Watchdog


def test_a_task_that_ends_is_nothing_to_worry_about() -> None:
    ends: list[int] = []
    watchdog = Watchdog(60, end=ends.append)
    with watchdog.watch("one"):
        watchdog.check()
    watchdog.check()
    assert ends == []


def test_a_task_that_does_not_end_ends_the_process(caplog: pytest.LogCaptureFixture) -> None:
    ends: list[int] = []
    watchdog = Watchdog(0, end=ends.append)
    with watchdog.watch("one"), watchdog.watch("another"):
        watchdog.check()
    assert ends == [1]
    (record,) = caplog.records
    assert record.levelno == logging.CRITICAL
    assert record.message == "another, one did not end at the timeout, which ends this worker"


def test_it_watches_in_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    checked = threading.Event()
    watchdog = Watchdog(60)
    monkeypatch.setattr(watchdog, "check", checked.set)
    watchdog.interval = 0
    watchdog.start()
    assert checked.wait(60)
    watchdog.stop()
