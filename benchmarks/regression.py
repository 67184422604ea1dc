#!/usr/bin/env -S uv run
# /// script
# requires-python = ">=3.11"
# dependencies = [
#     "aiosqlite", "alembic", "fastapi>=0.165", "argon2-cffi", "pydantic-settings",
#     "pyjwt>=2.15", "python-multipart", "redis>=8.1", "sqlalchemy[asyncio]>=2.1", "taskiq",
# ]
# ///
"""Fail if requests have become more expensive. The result does not depend on other load.

Valgrind counts the instructions of the processor, with fixed hashes and without the garbage
collector. Two runs differ by less than one percent. In addition, and if Valgrind is not installed,
the processor time is compared, with limits far above its variation.
"""

import argparse
import asyncio
import gc
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

# Limits, relative to the bare application. docs/performance.md has the current values, which vary
# slightly with the version of Python.
INSTRUCTIONS = {"full": 2.08, "no record": 1.66, "ours": 1.34}
TIMES = {"full": 4.0, "no record": 2.8, "ours": 2.2}
WARM, COUNTED = 30, 50


def count() -> int:
    """Run the requests that Valgrind counts. Wait for a line after those of each application."""
    import worker
    from applications import BROWSER, create, log_to

    headers = [(name.encode(), value.encode()) for name, value in BROWSER.items()]
    log_to(Path(os.devnull), "")
    apps = {name: create(name) for name in ("bare", *INSTRUCTIONS)}
    with asyncio.Runner() as runner:
        for app in apps.values():
            runner.run(worker.ask(app, headers, WARM, "/"))
        gc.collect()
        gc.disable()
        for name in ("", *apps):
            if name:
                runner.run(worker.ask(apps[name], headers, COUNTED, "/"))
            print(name, flush=True)
            sys.stdin.readline()
    return 0


def instructions(directory: Path) -> dict[str, float]:
    """Return the number of instructions per request."""
    output = directory / "callgrind"
    command = ["valgrind", "--tool=callgrind", "--instr-atstart=no"]
    command += [f"--callgrind-out-file={output}", sys.executable, __file__, "--count"]
    pipe, none = subprocess.PIPE, subprocess.DEVNULL
    environ = os.environ | {"PYTHONHASHSEED": "0"}
    environ["PYTHONPYCACHEPREFIX"] = str(directory / "bytecode")
    counts: dict[str, float] = {}
    with subprocess.Popen(
        command, stdin=pipe, stdout=pipe, stderr=none, env=environ, text=True
    ) as process:
        assert process.stdin
        assert process.stdout
        for number, line in enumerate(process.stdout):
            # Starts counting after the imports, which saves most of the time.
            order = ["dump", line.strip()] if number else ["instrumentation", "on"]
            control = ["vgdb", f"--pid={process.pid}", *order]
            subprocess.run(control, check=True, stdout=none, stderr=none, timeout=60)
            if number:
                dump = Path(f"{output}.{number}").read_text(encoding="utf-8")
                total = re.search(r"^(?:totals|summary): ([0-9]+)", dump, re.MULTILINE)
                assert total
                counts[line.strip()] = int(total[1]) / COUNTED
            print(file=process.stdin, flush=True)
    assert process.returncode == 0, "the counted process failed"
    return counts


def times(directory: Path) -> dict[str, float]:
    """Return the processor time per request in microseconds."""
    from applications import BROWSER
    from measure import in_turns, workers

    names = ["bare", *TIMES]
    with workers({name: {"name": name} for name in names}, directory / "log") as processes:
        samples = in_turns(
            names, lambda name: processes[name].ask(BROWSER, 100), rounds=15, title="times"
        )
    return {name: samples.median(name) * 1e6 for name in names}


def is_exceeded(values: dict[str, float], limits: dict[str, float], unit: str) -> bool:
    """Print the values, and return whether one exceeds its limit."""
    for name, value in values.items():
        limit = f", at most {limits[name]}" if name in limits else ""
        print(f"{name:10} {value:10,.0f} {unit}, {value / values['bare']:.3f} times bare{limit}")
    return any(values[name] > limit * values["bare"] for name, limit in limits.items())


def main() -> None:
    """Exit with status 1 if a limit is exceeded."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", action="store_true", help=argparse.SUPPRESS)
    if parser.parse_args().count:
        sys.exit(count())
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        is_worse = is_exceeded(times(directory), TIMES, "microseconds")
        if shutil.which("valgrind") and shutil.which("vgdb"):
            is_worse |= is_exceeded(instructions(directory), INSTRUCTIONS, "instructions")
        else:
            print("instructions are not counted: install Valgrind (apt-get install valgrind)")
    sys.exit(is_worse)


if __name__ == "__main__":
    main()
