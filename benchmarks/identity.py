"""What an authenticated request costs, without a server: against an anonymous one, times bare."""

from functools import reduce
from operator import add
from pathlib import Path

from applications import BROWSER, provider_token, token
from measure import Samples, Table, Target, in_turns, workers

STARTS = 3
APPLICATIONS = ("bare", "full", "provider", "provider, each time")


def run(directory: Path, rounds: int, requests: int) -> list[Table]:
    """Measure anonymous and authenticated requests, in several processes of each application."""
    starts = [start(directory / "log", rounds, requests, number + 1) for number in range(STARTS)]
    return [summary(reduce(add, starts))]


def start(log: Path, rounds: int, requests: int, number: int) -> Samples:
    """Measure one process of each."""
    tokens = {"full": token(), "bare": ""}
    anonymous = {name: BROWSER for name in APPLICATIONS}
    authenticated = {
        name: BROWSER | {"authorization": f"Bearer {tokens.get(name) or provider_token()}"}
        for name in APPLICATIONS
        if name != "bare"
    }
    clients = {f"{name}, anonymous": (name, headers) for name, headers in anonymous.items()} | {
        f"{name}, authenticated": (name, headers) for name, headers in authenticated.items()
    }
    with workers({name: {"name": name} for name in APPLICATIONS}, log) as processes:
        return in_turns(
            list(clients),
            lambda client: processes[clients[client][0]].ask(clients[client][1], requests),
            rounds=rounds,
            title=f"identity, start {number} of {STARTS}",
        )


def summary(samples: Samples) -> Table:
    """Compare what a token adds."""
    bare = samples.median("bare, anonymous")
    labels = {
        "full": "the whole service, and its own token",
        "provider": "the layer alone, and a token of a provider",
        "provider, each time": "the same, verified for each request",
    }
    rows = []
    added = {}
    for name, label in labels.items():
        without, with_token = (
            samples.median(f"{name}, {kind}") for kind in ("anonymous", "authenticated")
        )
        added[name] = (with_token - without) / bare
        figures = [f"{value * 1e6:.0f}" for value in (without, with_token)]
        rows.append([label, *figures, f"{added[name]:.2f}"])
    return Table(
        "An authenticated request",
        ["", "anonymous, microseconds", "authenticated", "more, times bare"],
        rows,
        [
            Target("a token of the service, times bare", added["full"], 0.2),
            Target("a token of a provider, times bare", added["provider"], 0.2),
        ],
    )
