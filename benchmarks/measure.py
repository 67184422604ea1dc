"""Measure applications in turns, so that a busy machine slows all of them, and compare medians."""

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent


@dataclass
class Table:
    """The results of a measurement: rows with a title, and its targets."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    targets: Sequence["Target"] = ()

    def __str__(self) -> str:
        lines = [self.columns, ["---", *["---:"] * (len(self.columns) - 1)], *self.rows]
        table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        targets = "\n".join(f"- {target}" for target in self.targets)
        return "\n\n".join(part for part in (f"### {self.title}", table, targets) if part)


@dataclass(frozen=True)
class Target:
    """A value and its limit: the maximum, or the minimum if `at_least`."""

    name: str
    value: float
    limit: float
    at_least: bool = False

    @property
    def is_met(self) -> bool:
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    def __str__(self) -> str:
        bound = "at least" if self.at_least else "at most"
        verdict = "met" if self.is_met else "**missed**"
        return f"{self.name}: {self.value:.2f} ({bound} {self.limit:g}): {verdict}"


class Samples:
    """The measured values of each name, one per round."""

    def __init__(self, values: Mapping[str, Sequence[float]]) -> None:
        self.values = values

    def median(self, name: str) -> float:
        return statistics.median(self.values[name])

    def ratios(self, name: str, to: str) -> list[float]:
        return [a / b for a, b in zip(self.values[name], self.values[to], strict=True)]

    def ratio(self, name: str, to: str) -> float:
        return statistics.median(self.ratios(name, to))

    def __add__(self, other: "Samples") -> "Samples":
        """Join samples with the same names."""
        return Samples({name: [*self.values[name], *other.values[name]] for name in self.values})

    def spread(self, name: str, to: str) -> str:
        """Return the median of the ratios and their quartiles as a text."""
        low, middle, high = statistics.quantiles(self.ratios(name, to), n=4)
        return f"{middle:.2f} ({low:.2f} to {high:.2f})"

    def added(self, name: str, other: str, to: str) -> float:
        """Return the time that `name` adds to `to`, divided by the time that `other` adds."""
        return (self.median(name) - self.median(to)) / (self.median(other) - self.median(to))


def in_turns(
    names: Sequence[str], measure: Callable[[str], float], *, rounds: int, title: str
) -> Samples:
    """Measure each name once per round, in alternating order. The first round warms up."""
    values: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds + 1):
        show(f"{title}: round {number} of {rounds}")
        for name in names if number % 2 else reversed(names):
            value = measure(name)
            if number:
                values[name].append(value)
    show("")
    return Samples(values)


def show(progress: str) -> None:
    """Print the progress on a line that the next one replaces."""
    if sys.stderr.isatty():
        print(f"\r\033[K{progress}", end="", file=sys.stderr, flush=True)


class Worker:
    """A process that measures the requests of one application."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process

    def ask(self, headers: Mapping[str, str], requests: int, **options: Any) -> float:
        """Return the average processor time of a request in seconds."""
        assert self.process.stdin
        assert self.process.stdout
        text = json.dumps({"headers": dict(headers), "requests": requests, **options})
        print(text, file=self.process.stdin, flush=True)
        return float(self.process.stdout.readline())


@contextmanager
def workers(
    specifications: Mapping[str, Mapping[str, Any]], log: Path
) -> Iterator[dict[str, Worker]]:
    """Start a process per application. `specifications`: arguments of `applications.create`."""
    with ExitStack() as stack:
        started = {
            name: stack.enter_context(process_of(specification, log))
            for name, specification in specifications.items()
        }
        for process in started.values():
            assert process.stdout
            assert process.stdout.readline() == "ready\n"
        yield {name: Worker(process) for name, process in started.items()}


@contextmanager
def process_of(specification: Mapping[str, Any], log: Path) -> Iterator["subprocess.Popen[str]"]:
    """Start a worker, and stop it afterwards."""
    command = [sys.executable, str(HERE / "worker.py"), json.dumps(specification), str(log)]
    environ = os.environ | {"PYTHONPYCACHEPREFIX": str(log.parent / "bytecode")}
    environ.pop("PYTHONDONTWRITEBYTECODE", None)
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environ)
    try:
        yield process
    finally:
        # Closes its standard input, which ends the worker.
        process.communicate()
