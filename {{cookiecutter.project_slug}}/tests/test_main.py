import runpy
import signal
import sys
from collections.abc import Callable
from typing import Any

import pytest


@pytest.mark.usefixtures("own_logging")
def test_the_application_has_the_settings_of_the_environment(environ: Callable[..., None]) -> None:
    environ(MAX_BODY_SIZE="5")
    app = runpy.run_module("app.main")["app"]
    assert app.state.settings.max_body_size == 5


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals")
def test_it_serves_until_it_receives_a_signal(serve: Callable[..., Any]) -> None:
    server = serve()
    with server.connect() as client:
        assert client.get("/").status_code == 200
        assert client.get("/nowhere").json()["error"]["code"] == 404
    messages = [entry["message"] for entry in server.stop()]
    assert messages[-1].startswith("Finished server process")
    assert server.returncode == -signal.SIGTERM


def test_it_does_not_start_with_invalid_settings(serve: Callable[..., Any]) -> None:
    server = serve(DEBUG="hunter2", MAX_BODY_SIZE="hunter2")
    output, errors = server.communicate()
    assert server.returncode == 3
    assert output == ""
    assert errors.splitlines() == [
        "Invalid settings:",
        "  DEBUG: Input should be a valid boolean, unable to interpret input",
        "  MAX_BODY_SIZE: Input should be a valid integer, unable to parse string as an integer",
    ]
