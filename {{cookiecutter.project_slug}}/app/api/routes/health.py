"""Whether this process lives, and whether it can serve."""

import logging
from collections.abc import Awaitable, Callable
from typing import Literal

import anyio
from fastapi import APIRouter, HTTPException, Request
from pydantic import BaseModel

from app.core.paths import LIVENESS, READINESS

Check = Callable[[], Awaitable[None]]
"""Raises when what it asks cannot serve. `app.state.checks` holds them by name."""

# Probes give up after a second or more, by default.
TIMEOUT = 0.8

logger = logging.getLogger(__name__)
router = APIRouter(tags=["health"])


class Health(BaseModel):
    """A positive answer to a probe."""

    status: Literal["ok"] = "ok"


@router.get(LIVENESS)
async def read_liveness() -> Health:
    """Answer as long as the process lives. Asks nothing else: a restart would not mend that."""
    return Health()


@router.get(READINESS)
async def read_readiness(request: Request) -> Health:
    """Answer 503 while something that requests need does not answer."""
    failed: list[str] = []

    async def run(name: str, check: Check) -> None:
        try:
            with anyio.fail_after(TIMEOUT):
                await check()
        except Exception as error:
            # No traceback: while something is down, each probe says so.
            logger.warning("not ready: %s: %r", name, error)
            failed.append(name)

    async with anyio.create_task_group() as group:
        for name, check in request.app.state.checks.items():
            group.start_soon(run, name, check)
    if failed:
        raise HTTPException(503, f"Not ready: {', '.join(sorted(failed))}")
    return Health()
