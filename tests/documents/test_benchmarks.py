"""Every benchmark in docs/performance.md runs, for a short time. Its figures are not checked."""

import re
import subprocess
import sys

import pytest
from uv import find_uv_bin

from tests.support.service import environment
from tests.support.template import ROOT

SHORT = {
    "database.py": ["--rounds=1", "--requests=5"],
    "generate.py": ["--runs=1"],
    "login.py": ["--tries=2"],
    "run.py": ["growth", "identity", "served", "start", "--rounds=2"],
    "websocket.py": ["--sockets=200", "--rounds=1"],
}
# Run by `.ci/run`.
ELSEWHERE = {"regression.py"}


def test_every_benchmark_is_tested() -> None:
    commands = {
        path.name
        for path in (ROOT / "benchmarks").glob("*.py")
        if "argparse" in path.read_text(encoding="utf-8")
    }
    assert commands == SHORT.keys() | ELSEWHERE


@pytest.mark.slow
@pytest.mark.parametrize("name", SHORT)
def test_it_prints_figures(name: str) -> None:
    script = ROOT / "benchmarks" / name
    brings_its_own = "# /// script" in script.read_text(encoding="utf-8")
    start = [find_uv_bin(), "run", "--quiet"] if brings_its_own else [sys.executable]
    result = subprocess.run(
        [*start, script, *SHORT[name]],
        cwd=ROOT,
        # Without a server, because a benchmark must not write to a database that is in use.
        env=environment(TEST_DATABASE_URL=""),
        capture_output=True,
        encoding="utf-8",
    )
    # A benchmark that misses its target exits with status 1.
    assert result.returncode in (0, 1)
    assert "Traceback" not in result.stderr, result.stderr
    assert re.search(r"[0-9]\.[0-9]", result.stdout)
