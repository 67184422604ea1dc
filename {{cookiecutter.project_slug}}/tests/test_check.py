import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from app import check

EXAMPLE = Path(__file__).parents[1] / ".env.example"

Run = Callable[[], tuple[int, list[str]]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Return a function that runs the command and returns its status and its output as lines."""

    def run() -> tuple[int, list[str]]:
        monkeypatch.setattr(sys, "argv", ["check"])
        return check.main(), capsys.readouterr().out.splitlines()

    return run


@pytest.fixture
def set_safe(environ: Callable[..., None], safe: dict[str, str]) -> Callable[..., None]:
    """Return a function that sets variables without a risk, except for some changes."""
    return lambda **changes: environ(**safe | changes)


def test_safe_settings_are_ready(set_safe: Callable[..., None], run: Run) -> None:
    set_safe()
    assert run() == (0, ["ready"])


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"DEBUG": "true"}, "DEBUG: shows exception messages to clients; set it to false"),
        (
            {"DEBUG": "hunter2"},
            "DEBUG: Input should be a valid boolean, unable to interpret input",
        ),
        (
            {"API_PREFIX": "hunter2"},
            "API_PREFIX: must start with a slash and not end with one, such as /api/v1",
        ),
        (
            {"DOCS_ENABLED": "true"},
            "DOCS_ENABLED: publishes the documentation; set it to false unless it is public",
        ),
        (
            {"FORWARDED_ALLOW_IPS": "hunter2"},
            "FORWARDED_ALLOW_IPS: must be addresses or networks, such as 10.0.0.5,10.1.0.0/16, "
            "or unix",
        ),
    ],
)
def test_each_risk_has_one_line(
    changes: dict[str, str], line: str, set_safe: Callable[..., None], run: Run
) -> None:
    set_safe(**changes)
    assert run() == (1, [line])


@pytest.mark.parametrize("name", ["FORWARDED_ALLOW_IPS", "UVICORN_FORWARDED_ALLOW_IPS"])
@pytest.mark.parametrize(
    ("value", "is_safe"),
    [
        ("*", False),
        ("10.0.0.1, *", False),
        ("0.0.0.0/0", False),
        ("::/0", False),
        ("0.0.0.0/1,128.0.0.0/1", False),
        ("10.0.0.0/8,fd00::/8,203.0.113.7,103.21.244.0/22,unix", True),
    ],
)
def test_no_client_is_a_proxy(
    name: str, value: str, is_safe: bool, set_safe: Callable[..., None], run: Run
) -> None:
    set_safe(**{name: value})
    line = f"{name}: lets clients forge their address; list your proxies"
    assert run() == ((0, ["ready"]) if is_safe else (1, [line]))


def test_risks_that_debug_hides_are_reported_while_it_is_on(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text(EXAMPLE.read_text())
    status, lines = run()
    assert (status, sum(line.startswith("DEBUG:") for line in lines)) == (1, 1)
    (tmp_path / ".env").write_text(EXAMPLE.read_text().replace("DEBUG=true", "DEBUG=false"))
    assert set(run()[1]) <= {*lines, "ready"}


def test_help(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["check", "--help"])
    monkeypatch.delitem(sys.modules, "app.check")
    with pytest.raises(SystemExit) as end:
        runpy.run_module("app.check", run_name="__main__")
    assert end.value.code == 0
    assert capsys.readouterr().out.startswith("usage: python -m app.check [-h]\n")
