"""Run workers, the processes that run tasks: `python -m app.worker`.

It accepts the options of `taskiq worker`, such as `--workers 4`. `taskiq worker app.worker:broker`
works as well.
"""

import sys

from taskiq.cli.worker.args import WorkerArgs
from taskiq.cli.worker.run import run_worker

from app.config import get_settings
from app.core.logging import configure_logging
from app.tasks.broker import create_broker

settings = get_settings()
configure_logging(settings)
broker = create_broker(settings)


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
        f"--wait-tasks-timeout={settings.task_shutdown_timeout}",
    ]
    return run_worker(WorkerArgs.from_cli([*args, *sys.argv[1:]]))


if __name__ == "__main__":
    sys.exit(main())
