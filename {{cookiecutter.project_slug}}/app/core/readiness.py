"""Whether the dependencies of this service are available."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping

import anyio

Check = Callable[[], Awaitable[None]]
"""Raises if a dependency of this service is not available."""

# In seconds. Probes time out after one second or more by default.
TIMEOUT = 0.8
# Seconds for which a result is used. Longer than a check can take, so that two never overlap.
INTERVAL = 1.0

logger = logging.getLogger(__name__)


class Readiness:
    """Runs the checks at most once per second, so that many probes cost no more than one."""

    def __init__(self) -> None:
        self._expires = 0.0
        self._result: asyncio.Task[list[str]] | None = None

    async def find_failures(self, checks: Mapping[str, Check]) -> list[str]:
        """Return the names of the dependencies that are not available, in order."""
        now = asyncio.get_running_loop().time()
        if self._result is None or now >= self._expires:
            self._expires = now + INTERVAL
            self._result = asyncio.create_task(_run_all(checks))
        # Shielded, because a client that disconnects must not cancel the checks of other clients.
        return await asyncio.shield(self._result)


async def _run_all(checks: Mapping[str, Check]) -> list[str]:
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
        for name, check in checks.items():
            group.start_soon(run, name, check)
    return sorted(failed)
