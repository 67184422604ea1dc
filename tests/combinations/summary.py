"""A line at the end of a test run with the number of combinations that were tested."""

import time
from collections import Counter

import pytest

START = time.monotonic()
COUNTED = ("generated", "refused", "checked", "tested", "served")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Add up the counts that the tests have recorded in all processes."""
    counts: Counter[str] = Counter()
    for report in terminalreporter.getreports("passed"):
        if report.when == "call":
            counts.update({name: n for name, n in report.user_properties if name in COUNTED})
    if counts:
        minutes, seconds = divmod(round(time.monotonic() - START), 60)
        proven = ", ".join(f"{counts[name]:,} {name}" for name in COUNTED)
        terminalreporter.write_line(f"combinations: {proven}, in {minutes}:{seconds:02} minutes")
