"""Health checks: liveness and readiness."""

from typing import Literal

from fastapi import APIRouter, HTTPException, Request
from pydantic import BaseModel

from app.core.paths import LIVENESS, READINESS

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

    Responds with 503 otherwise. The message names the dependencies that are not available. The
    result is up to one second old.
    """
    state = request.app.state
    if failed := await state.readiness.find_failures(state.checks):
        raise HTTPException(503, f"Not ready: {', '.join(failed)}")
    return Health()
