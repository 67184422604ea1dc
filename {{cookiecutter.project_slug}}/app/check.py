"""Say what is still unsafe in production: `python -m app.check`."""

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
    """Yield one line for each risk: the variable and what to do, never its value."""
    # First as they are, then without DEBUG, which permits settings that otherwise prevent the start.
    for read_settings in (Settings, partial(Settings, debug=False)):
        try:
            yield from read_settings().risks()
        except ValidationError as error:
            yield from describe(error)
    # What the command `uvicorn` reads in place of FORWARDED_ALLOW_IPS.
    names = os.environ.get("UVICORN_FORWARDED_ALLOW_IPS", "").split(",")
    if trusts_clients(name.strip() for name in names):
        yield "UVICORN_FORWARDED_ALLOW_IPS: a client could claim any address: name the proxies"


def main() -> int:
    """Print the risks, and return 1 if there are any."""
    ArgumentParser(
        prog="python -m app.check",
        description="Check the settings of the environment and of .env for use in production. "
        "Ends with 1, after a line for each setting that is unsafe, or else with 0.",
    ).parse_args()
    risks = dict.fromkeys(find_risks())
    print(*risks or ["ready"], sep="\n")
    return 1 if risks else 0


if __name__ == "__main__":
    sys.exit(main())
