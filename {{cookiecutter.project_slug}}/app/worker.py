"""A process that runs tasks: `python -m app.worker`.

It takes the options of `taskiq worker`, such as `--workers 4`, which also works by itself:
`taskiq worker app.worker:broker`.
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
    """Run workers until they are told to stop."""
    if not settings.redis_url:
        print(
            "REDIS_URL: workers need a Redis; without one, tasks run in the service",
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
