"""Measure the time of importing and creating the application, for each option alone."""

import os
import subprocess
import sys
from pathlib import Path

from measure import Samples, Table, in_turns

TEMPLATE = Path(__file__).resolve().parent.parent
NONE = [f"use_{name}=false" for name in ("request_logging", "security_headers", "cors")]
NONE += [f"use_{name}=false" for name in ("trusted_host", "gzip", "docker")]
OPTIONS = {
    "nothing": [],
    "request_logging": ["use_request_logging=true"],
    "security_headers": ["use_security_headers=true"],
    "cors": ["use_cors=true"],
    "trusted_host": ["use_trusted_host=true"],
    "gzip": ["use_gzip=true"],
    "rate_limit": ["use_rate_limit=true"],
    "api_key": ["use_api_key=true"],
    "websocket": ["use_websocket=true"],
    "jwt: verify": ["jwt=verify"],
    "database: sqlite": ["database=sqlite"],
    "jwt: issue, database: sqlite": ["jwt=issue", "database=sqlite"],
    "tasks: fastapi": ["background_tasks=fastapi"],
    "tasks: taskiq": ["background_tasks=taskiq"],
}
BARE = "import fastapi; fastapi.FastAPI()"
# Prints the number of imported modules.
COUNT = "; import sys; print(len(sys.modules))"


def run(directory: Path, rounds: int, _: int) -> list[Table]:
    """Generate a project for each option, and start them in turns."""
    projects = {name: generate(directory, name, answers) for name, answers in OPTIONS.items()}
    environ = os.environ | {"PYTHONPYCACHEPREFIX": str(directory / "bytecode")}
    environ.pop("PYTHONDONTWRITEBYTECODE", None)

    def start(name: str, code: str = "") -> str:
        return subprocess.run(
            [sys.executable, "-c", (BARE if name == "FastAPI" else "import app.main") + code],
            cwd=projects.get(name, directory),
            env=environ,
            check=True,
            capture_output=True,
            text=True,
        ).stdout

    def seconds(name: str) -> float:
        started = os.times()
        start(name)
        ended = os.times()
        return (ended.children_user - started.children_user) + (
            ended.children_system - started.children_system
        )

    names = ["FastAPI", *projects]
    samples = in_turns(names, seconds, rounds=rounds, title="start")
    return [table(samples, {name: start(name, COUNT).strip() for name in names})]


def generate(directory: Path, name: str, answers: list[str]) -> Path:
    """Generate a project from these answers, and return its path."""
    slug = "".join(letter if letter.isalnum() else "-" for letter in name)
    command = [sys.executable, "-m", "cookiecutter", str(TEMPLATE), "--no-input"]
    command += ["-o", str(directory), f"project_slug=start-{slug}", "ci=none", *NONE, *answers]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return directory / f"start-{slug}"


def table(samples: Samples, modules: dict[str, str]) -> Table:
    """Compare the projects with FastAPI alone."""
    rows = [
        [name, f"{samples.median(name) * 1000:.0f}", samples.spread(name, "FastAPI"), modules[name]]
        for name in samples.values
    ]
    columns = ["", "milliseconds", "times FastAPI", "modules"]
    return Table("Start: the processor's time to import and create the application", columns, rows)
