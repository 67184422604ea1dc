#!/usr/bin/env -S uv run
# /// script
# requires-python = ">=3.11"
# dependencies = [
#     "aiosqlite", "alembic", "argon2-cffi", "cookiecutter>=2.7", "fastapi>=0.165", "httptools",
#     "httpx2", "pydantic-settings", "pyjwt[crypto]>=2.15", "python-multipart", "redis>=8.1",
#     "sqlalchemy[asyncio]>=2.1", "taskiq", "uvicorn>=0.54",
#     "uvloop; sys_platform != 'win32'", "websockets",
# ]
# ///
"""Measure the performance of the service, and print tables.

Applications are measured in turns, and compared within one run. Ratios are medians with quartiles.
docs/performance.md describes the sections.
"""

import argparse
import importlib
import platform
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

SECTIONS = {
    "in_process": (3, 1000),
    "identity": (7, 1000),
    "served": (15, 1000),
    "growth": (7, 300),
    "start": (7, 0),
}
LIBRARIES = "fastapi starlette pydantic uvicorn uvloop httptools sqlalchemy".split()


def main() -> None:
    """Run the sections, and exit with status 1 if a target is missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "sections", nargs="*", help=f"any of {', '.join(SECTIONS)}; all of them by default"
    )
    parser.add_argument("--rounds", type=int, help="number of rounds")
    parser.add_argument("--chart", type=Path, help="path of a chart of the first section (SVG)")
    arguments = parser.parse_args()
    if unknown := set(arguments.sections) - SECTIONS.keys():
        parser.error(f"unknown section: {', '.join(unknown)}")
    print(machine(), end="\n\n", flush=True)
    tables = []
    with tempfile.TemporaryDirectory() as directory:
        for name in arguments.sections or SECTIONS:
            rounds, requests = SECTIONS[name]
            section = importlib.import_module(name)
            for table in section.run(Path(directory), arguments.rounds or rounds, requests):
                print(table, end="\n\n", flush=True)
                tables.append(table)
    if arguments.chart:
        chart = importlib.import_module("chart")
        arguments.chart.write_text(chart.draw(tables), encoding="utf-8")
    sys.exit(not all(target.is_met for table in tables for target in table.targets))


def machine() -> str:
    """Return the processor and the versions of Python and the libraries."""
    libraries = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    return f"{processor()}; Python {platform.python_version()}; {libraries}"


def processor() -> str:
    """Return the number and the name of the processors if the system provides them."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    return f"{len(names)} processors {names[0]}" if names else platform.machine()


if __name__ == "__main__":
    main()
