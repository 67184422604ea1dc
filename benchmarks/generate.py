"""Measure the time of generating a project, compared with an empty template.

Processes of `cookiecutter --no-input` run in turns, so that a busy machine slows both.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
LIMIT = 1.5


def empty_template(directory: Path) -> Path:
    """Create a template that generates one empty directory, and return its path."""
    template = directory / "empty"
    (template / "{{cookiecutter.project_slug}}").mkdir(parents=True)
    (template / "cookiecutter.json").write_text('{"project_slug": "empty"}', encoding="utf-8")
    return template


def seconds(template: Path, home: Path) -> float:
    """Return the time of generating a project from a template in seconds."""
    with tempfile.TemporaryDirectory(dir=home) as output:
        command = [sys.executable, "-m", "cookiecutter", str(template), "--no-input", "-o", output]
        environment = os.environ | {"HOME": str(home), "USERPROFILE": str(home)}
        start = time.perf_counter()
        subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
        return time.perf_counter() - start


def main() -> None:
    """Print both medians and their ratio. Exit with status 1 if the ratio exceeds the limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=21, help="runs of each (default: 21)")
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as directory:
        home = Path(directory)
        templates = {"this template": HERE, "empty template": empty_template(home)}
        for template in templates.values():
            seconds(template, home)  # warms up the file system and the bytecode
        rounds = [
            {name: seconds(template, home) for name, template in templates.items()}
            for _ in range(runs)
        ]
    ours, empty = (statistics.median(times[name] for times in rounds) for name in templates)
    print(f"this template   {ours * 1000:6.0f} ms")
    print(f"empty template  {empty * 1000:6.0f} ms")
    print(f"ratio           {ours / empty:6.2f}    (at most {LIMIT})")
    sys.exit(ours / empty > LIMIT)


if __name__ == "__main__":
    main()
