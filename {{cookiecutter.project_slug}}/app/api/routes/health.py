"""Health checks: liveness and readiness."""

import logging
from collections.abc import Awaitable, Callable
from typing import Literal

import anyio
from fastapi import APIRouter, HTTPException, Request
from pydantic import BaseModel

from app.core.paths import LIVENESS, READINESS

Check = Callable[[], Awaitable[None]]
"""Raises if a dependency of this service is unavailable. `app.state.checks` maps names to them."""

# In seconds. Probes time out after one second or more by default.
TIMEOUT = 0.8

logger = logging.getLogger(__name__)
router = APIRouter(tags=["health"])


class Health(BaseModel):
    """The result of a successful health check."""

    status: Literal["ok"] = "ok"


@router.head(LIVENESS, include_in_schema=False)
@router.get(LIVENESS)
async def read_liveness() -> Health:
    """Respond with 200 while the process is alive. Dependencies are not checked."""
    # A restart, which follows a failed liveness check, would not repair a dependency.
    return Health()


@router.head(READINESS, include_in_schema=False)
@router.get(READINESS)
async def read_readiness(request: Request) -> Health:
    """Respond with 200 if every dependency of this service is available.

    Responds with 503 otherwise. The message names the dependencies that are not available.
    """
    failed: list[str] = []

    async def run(name: str, check: Check) -> None:
        try:
            with anyio.fail_after(TIMEOUT):
                await check()
        except Exception as error:
            # Without a traceback, because every probe logs this until the dependency is back.
            logger.warning("not ready: %s: %r", name, error)
            failed.append(name)

    async with anyio.create_task_group() as group:
        for name, check in request.app.state.checks.items():
            group.start_soon(run, name, check)
    if failed:
        raise HTTPException(503, f"Not ready: {', '.join(sorted(failed))}")
    return Health()
