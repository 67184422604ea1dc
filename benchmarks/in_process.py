"""Measure the processor time of a request without a server, relative to a bare application."""

from functools import reduce
from operator import add
from pathlib import Path

from applications import APPLICATIONS, BROWSER, LAYERS, RECORDS, SERVICE_CLIENT, token
from measure import Samples, Table, Target, in_turns, workers

TITLE = "A request, in process"
# Processes of the same application differ by several hundredths because of their memory layout.
STARTS = 5
# The last step, "written", is how every application is measured.
STEPS = {
    f"record {step}": {"name": "RequestLoggingMiddleware", "records": step}
    for step in RECORDS
    if step != "written"
}
OTHERS = {
    "another service": SERVICE_CLIENT,
    "with a token": BROWSER | {"authorization": f"Bearer {token()}"},
}
SPECIFICATIONS = {name: {"name": name} for name in APPLICATIONS} | STEPS


def run(directory: Path, rounds: int, requests: int) -> list[Table]:
    """Measure every application in several processes."""
    starts = [start(directory / "log", rounds, requests, number + 1) for number in range(STARTS)]
    samples, others = (reduce(add, parts) for parts in zip(*starts, strict=True))
    return [summary(samples), layers(samples), steps(samples), clients(others)]


def start(log: Path, rounds: int, requests: int, number: int) -> tuple[Samples, Samples]:
    """Measure one process of each application, with requests of a browser and of other clients."""
    with workers(SPECIFICATIONS, log) as processes:
        samples = in_turns(
            list(SPECIFICATIONS),
            lambda name: processes[name].ask(BROWSER, requests),
            rounds=rounds,
            title=f"in process, start {number} of {STARTS}",
        )
        others = in_turns(
            [f"{name}, {kind}" for name in ("bare", "full") for kind in OTHERS],
            lambda name: processes[name.split(", ")[0]].ask(OTHERS[name.split(", ")[1]], requests),
            rounds=rounds,
            title=f"other clients, start {number} of {STARTS}",
        )
    return samples, others


def row(samples: Samples, name: str, label: str, to: str = "bare") -> list[str]:
    added = (samples.median(name) - samples.median(to)) * 1e6
    return [label, f"{samples.median(name) * 1e6:.0f}", f"{added:.0f}", samples.spread(name, to)]


COLUMNS = ["", "microseconds", "added", "times bare"]


def summary(samples: Samples) -> Table:
    """Compare the stacks."""
    labels = {
        "bare": "FastAPI, and the route in a router",
        "bare, in one file": "FastAPI, and a route of its own",
        "full": "the whole service, every option on",
        "stack": "its layers, before the bare one",
        "no record": "the same without request logging",
        "ours": "without Starlette's and rate limit, too",
        "nothing": "as many that do nothing",
        "example": "the two of the example",
        "tutorial": "the tutorials' stack",
    }
    return Table(
        TITLE,
        COLUMNS,
        [row(samples, name, label) for name, label in labels.items()],
        [
            Target("the whole service, times bare", samples.ratio("full", "bare"), 2.0),
            Target("our layers, times bare", samples.ratio("ours", "bare"), 1.2),
            Target(
                "what the tutorials add, times what we add",
                samples.added("tutorial", "stack", "bare"),
                10,
                at_least=True,
            ),
        ],
    )


def layers(samples: Samples) -> Table:
    """Compare the layers, each alone."""
    rows = [row(samples, name, name) for name in LAYERS]
    return Table("Each layer alone", COLUMNS, rows)


def steps(samples: Samples) -> Table:
    """Compare the steps of writing a log record."""
    rows = [row(samples, name, name) for name in STEPS]
    rows.append(row(samples, "RequestLoggingMiddleware", "record written"))
    return Table("The record", COLUMNS, rows)


def clients(samples: Samples) -> Table:
    """Compare clients that send fewer or more headers."""
    rows = [row(samples, f"full, {kind}", kind, f"bare, {kind}") for kind in OTHERS]
    return Table("The whole service, to other clients", COLUMNS, rows)
