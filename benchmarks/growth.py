"""Measure how the time of a request grows with keys, paths, headers, routes and bodies."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from applications import BROWSER, KEY
from measure import Samples, Table, Target, in_turns, workers

KEYS = [1, 10, 100, 1000]
HEADERS = [10, 50, 100]
ROUTES = [0, 10, 100]
BODIES = [100, 1_000, 10_000, 100_000]
IDENTITY = BROWSER | {"accept-encoding": "identity"}


def run(directory: Path, rounds: int, requests: int) -> list[Table]:
    """Measure each kind of growth."""

    # `cases`: the specification of the application, the headers and the path, by name.
    def measure(
        title: str, cases: Mapping[str, tuple[dict[str, Any], dict[str, str], str]]
    ) -> Samples:
        specifications = {name: case[0] for name, case in cases.items()}
        with workers(specifications, directory / "log") as processes:
            return in_turns(
                list(cases),
                lambda name: processes[name].ask(cases[name][1], requests, path=cases[name][2]),
                rounds=rounds,
                title=title,
            )

    keys = measure(
        "keys",
        {
            str(number): ({"name": "full", "api_keys": [*others(number - 1), KEY]}, BROWSER, "/")
            for number in KEYS
        },
    )
    paths = measure(
        "public paths",
        {
            str(number): (
                {"name": "full", "api_key_public_paths": [f"/{name}" for name in others(number)]},
                BROWSER,
                "/",
            )
            for number in KEYS
        },
    )
    request_headers = measure(
        "headers",
        {
            f"{number} {name}": ({"name": name}, BROWSER | more_headers(number), "/")
            for number in HEADERS
            for name in ("bare", "full")
        },
    )
    routes = measure(
        "routes",
        {
            f"{number} {name}": ({"name": name, "routes": number}, BROWSER, "/last")
            for number in ROUTES
            for name in ("bare", "full")
        },
    )
    bodies = measure(
        "bodies",
        {
            f"{size} {kind}": ({"name": "full", "body": size}, headers, "/body")
            for size in BODIES
            for kind, headers in (("as it is", IDENTITY), ("compressed", BROWSER))
        },
    )
    return [
        flat("API keys", keys),
        flat("Public paths", paths),
        pairs("Headers of the request", request_headers, HEADERS, "bare", "full"),
        pairs("Routes before the requested one", routes, ROUTES, "bare", "full"),
        pairs("Size of the response, in bytes", bodies, BODIES, "as it is", "compressed"),
    ]


def others(number: int) -> list[str]:
    """Return this number of names that no request uses."""
    return [f"another-{index}" for index in range(number)]


def more_headers(number: int) -> dict[str, str]:
    """Return the headers that make the total number of headers with those of `BROWSER`."""
    return {f"x-header-{index}": "value" for index in range(number - len(BROWSER))}


def flat(title: str, samples: Samples) -> Table:
    """Return a table of times that should not depend on the number."""
    rows = [
        [name, f"{samples.median(name) * 1e6:.0f}", samples.spread(name, "1")]
        for name in samples.values
    ]
    # Two processes of the same application differ by up to a tenth on a busy machine.
    targets = [Target("a thousand, times one", samples.ratio("1000", "1"), 1.15)]
    return Table(title, ["how many", "microseconds", "times one"], rows, targets)


def pairs(title: str, samples: Samples, numbers: list[int], first: str, second: str) -> Table:
    """Return a table of the times of two applications."""
    rows = [
        [
            f"{number:,}",
            f"{samples.median(f'{number} {first}') * 1e6:.0f}",
            f"{samples.median(f'{number} {second}') * 1e6:.0f}",
            samples.spread(f"{number} {second}", f"{number} {first}"),
        ]
        for number in numbers
    ]
    return Table(title, ["", f"{first}, microseconds", f"{second}, microseconds", "ratio"], rows)
