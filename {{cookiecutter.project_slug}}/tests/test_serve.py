import logging
import os
import runpy
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from app import serve
from app.config import Settings
from app.core.server_config import ServerConfig

pytestmark = pytest.mark.usefixtures("own_logging", "own_signals")

Run = Callable[..., int]


@pytest.fixture
def own_signals() -> Iterator[None]:
    """Give back what handles signals."""
    handlers = {number: signal.getsignal(number) for number in signal.valid_signals()}
    yield
    for number, handler in handlers.items():
        if signal.getsignal(number) is not handler:
            signal.signal(number, handler)


@pytest.fixture
def run(
    environ: Callable[..., None], monkeypatch: pytest.MonkeyPatch, stop: Callable[[str], None]
) -> Run:
    """Run the command with some options until it serves, and return its status."""

    def run(*arguments: str, until: str = "Application startup complete", **changes: str) -> int:
        environ(**changes)
        monkeypatch.setattr(sys, "argv", ["serve", *arguments])
        stop(until)
        try:
            return serve.main()
        except SystemExit as end:
            assert isinstance(end.code, int)
            return end.code

    return run


@pytest.fixture
def stop() -> Iterator[Callable[[str], None]]:
    """Send this process a signal as soon as uvicorn logs something."""
    logger = logging.getLogger("uvicorn.error")
    filters = list(logger.filters)

    def stop(message: str, number: int = signal.SIGTERM) -> None:
        def look(record: logging.LogRecord) -> bool:
            if message in record.getMessage():
                os.kill(os.getpid(), number)
            return True

        logger.addFilter(look)

    yield stop
    logger.filters[:] = filters


def test_it_serves_until_it_is_told_to_stop(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--port=0") == 0
    output = capsys.readouterr().out
    assert "Uvicorn running on http://127.0.0.1:" in output
    assert "Finished server process" in output


def test_it_ends_by_the_keyboard(run: Run, stop: Callable[..., None]) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    stop("Started server process", signal.SIGINT)
    assert run("--port=0", until="nothing") == 0


def test_workers_serve_until_they_are_told_to_stop(run: Run) -> None:
    assert run("--port=0", "--workers=2", until="Started parent process") == 0


def test_workers_that_cannot_start_end_with_3(make_settings: Callable[..., Settings]) -> None:
    config = ServerConfig("nowhere:app", make_settings(), port=0, workers=2)
    with config.bind_socket() as listener:
        assert serve.run(config, listener) == 3


def test_a_unix_socket_is_gone_afterwards(run: Run) -> None:
    with TemporaryDirectory() as directory:
        assert run(f"--uds={directory}/socket") == 0
        assert list(Path(directory).iterdir()) == []


def test_a_unix_socket_that_is_in_use(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    with TemporaryDirectory() as directory, socket.socket(socket.AF_UNIX) as listener:
        path = Path(directory) / "socket"
        listener.bind(str(path))
        listener.listen()
        assert run(f"--uds={path}") == 3
        assert stat.S_ISSOCK(path.stat().st_mode)
        assert f"cannot listen on {path}" in capsys.readouterr().out


@pytest.mark.parametrize("workers", ["1", "2"])
def test_settings_that_are_not_usable_end_it_with_3(
    workers: str, environ: Callable[..., None], tmp_path: Path
) -> None:
    environ(DEBUG="hunter2")
    result = subprocess.run(
        [sys.executable, "-m", "app.serve", "--port=0", f"--workers={workers}"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 3
    assert "DEBUG: " in result.stderr
    assert "hunter2" not in result.stderr


def test_it_says_what_it_does(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["serve", "--help"])
    monkeypatch.delitem(sys.modules, "app.serve")
    with pytest.raises(SystemExit) as end:
        runpy.run_module("app.serve", run_name="__main__")
    assert end.value.code == 0
    assert capsys.readouterr().out.startswith("usage: python -m app.serve [-h] [--host HOST]")
