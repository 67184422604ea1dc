"""What the cost grows with, and what it does not: keys, paths, headers, routes, bodies."""

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

    def measure(
        title: str, questions: Mapping[str, tuple[dict[str, Any], dict[str, str], str]]
    ) -> Samples:
        specifications = {name: asked[0] for name, asked in questions.items()}
        with workers(specifications, directory / "log") as processes:
            return in_turns(
                list(questions),
                lambda name: processes[name].ask(
                    questions[name][1], requests, path=questions[name][2]
                ),
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
    headers = measure(
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
            f"{size} {kind}": ({"name": "full", "body": size}, asked, "/body")
            for size in BODIES
            for kind, asked in (("as it is", IDENTITY), ("compressed", BROWSER))
        },
    )
    return [
        flat("API keys", keys),
        flat("Public paths", paths),
        pairs("Headers of the request", headers, HEADERS, "bare", "full"),
        pairs("Routes before the one that is asked for", routes, ROUTES, "bare", "full"),
        pairs("Size of the answer, in bytes", bodies, BODIES, "as it is", "compressed"),
    ]


def others(number: int) -> list[str]:
    """Return so many names that nobody asks for."""
    return [f"another-{index}" for index in range(number)]


def more_headers(number: int) -> dict[str, str]:
    """Return as many headers as there are to be in all."""
    return {f"x-header-{index}": "value" for index in range(number - len(BROWSER))}


def flat(title: str, samples: Samples) -> Table:
    """What should take the same time for any number."""
    rows = [
        [name, f"{samples.median(name) * 1e6:.0f}", samples.spread(name, "1")]
        for name in samples.values
    ]
    # A busy machine makes a tenth of difference between two processes of the same kind.
    targets = [Target("a thousand, times one", samples.ratio("1000", "1"), 1.15)]
    return Table(title, ["how many", "microseconds", "times one"], rows, targets)


def pairs(title: str, samples: Samples, numbers: list[int], first: str, second: str) -> Table:
    """What two applications take, side by side."""
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
