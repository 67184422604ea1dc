"""Run workers, the processes that run tasks and send the scheduled ones: `python -m app.worker`.

It accepts the options of `taskiq worker`, such as `--workers 4`.
"""

import sys
from contextlib import AsyncExitStack

from taskiq import AsyncBroker, TaskiqEvents, TaskiqState
from taskiq.cli.worker.args import WorkerArgs
from taskiq.cli.worker.run import run_worker

from app.config import get_settings
from app.core.logging import configure_logging
from app.factory import create_app
from app.tasks.watchdog import GRACE, Watchdog

settings = get_settings()
configure_logging(settings)
# It serves no requests: tasks use what its lifespan opens.
app = create_app(settings)
broker: AsyncBroker = app.state.broker
watchdog = Watchdog(settings.task_timeout + GRACE)
entered = AsyncExitStack()


@broker.on_event(TaskiqEvents.WORKER_STARTUP)
async def start(state: TaskiqState) -> None:
    """Open what tasks use."""
    await entered.enter_async_context(app.router.lifespan_context(app))
    state.watch = watchdog.watch
    watchdog.start()


@broker.on_event(TaskiqEvents.WORKER_SHUTDOWN)
async def stop(state: TaskiqState) -> None:
    """Close it again."""
    watchdog.stop()
    await entered.aclose()


def main() -> int | None:
    """Run workers until they receive a signal to stop. Return their exit status."""
    if not settings.redis_url:
        print(
            "REDIS_URL: is required by workers; without it, tasks run in the service itself",
            file=sys.stderr,
        )
        return 3
    args = [
        "app.worker:broker",
        "--no-configure-logging",
        "--receiver=app.tasks.receiver:TaskReceiver",
        # Tasks validate their arguments themselves; taskiq runs them with what does not fit.
        "--no-parse",
        f"--wait-tasks-timeout={settings.task_shutdown_timeout}",
    ]
    return run_worker(WorkerArgs.from_cli([*args, *sys.argv[1:]]))


if __name__ == "__main__":
    sys.exit(main())
