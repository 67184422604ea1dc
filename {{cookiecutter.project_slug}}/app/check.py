"""Report settings that are unsafe in production: `python -m app.check`."""

import os
import sys
from argparse import ArgumentParser
from collections.abc import Iterator
from functools import partial

from pydantic import ValidationError

from app.config import Settings
from app.core.server_settings import trusts_clients
from app.core.settings import describe


def find_risks() -> Iterator[str]:
    """Yield one line per risk: the variable, what is wrong and what to do, but never its value."""
    # The second time without DEBUG, to report what is accepted only while it is on.
    for read_settings in (Settings, partial(Settings, debug=False)):
        try:
            yield from read_settings().risks()
        except ValidationError as error:
            yield from describe(error)
    # What the command `uvicorn` reads in place of FORWARDED_ALLOW_IPS.
    names = os.environ.get("UVICORN_FORWARDED_ALLOW_IPS", "").split(",")
    if trusts_clients(name.strip() for name in names):
        yield "UVICORN_FORWARDED_ALLOW_IPS: lets clients forge their address; list your proxies"


def main() -> int:
    """Print the risks. Return 1 if there are any, else 0."""
    ArgumentParser(
        prog="python -m app.check",
        description="Check the settings in the environment and in .env for use in production. "
        "Prints one line per unsafe setting and exits with status 1, or prints 'ready' and exits "
        "with status 0.",
    ).parse_args()
    risks = dict.fromkeys(find_risks())
    print(*risks or ["ready"], sep="\n")
    return 1 if risks else 0


if __name__ == "__main__":
    sys.exit(main())
