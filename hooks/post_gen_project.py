"""Leave the files that were picked, and make the project ready to start.

Cookiecutter renders this file and runs it in the new project directory, with its own Python:
standard library only, and few imports, because everybody who generates a project waits for them.
"""

import json
import os
import sys

# What a checkout of the template holds after somebody has run the service in it, unrendered.
STRAYS = {
    "__pycache__",
    ".coverage",
    ".mypy_cache",
    ".pytest_cache",
    ".ruff_cache",
    ".venv",
    "uv.lock",
}
PLACEHOLDER = "change-me"

# tojson writes an apostrophe as \u0027, so that no answer can end this literal.
ANSWERS = r'''{{ cookiecutter | tojson }}'''  # fmt: skip

AUTH = """
    app/api/routes/me.py
    app/auth/__init__.py
    app/auth/dependencies.py
    app/auth/tokens.py
    tests/api/routes/test_me.py
    tests/auth/test_dependencies.py
    tests/auth/support.py
    tests/auth/test_tokens.py
""".split()
ISSUE = """
    app/api/routes/users.py
    app/api/routes/token.py
    app/auth/users.py
    app/auth/issue.py
    app/auth/login_limit.py
    app/auth/models.py
    app/auth/passwords.py
    app/auth/refresh.py
    migrations/versions/users_0001.py
    tests/api/routes/test_users.py
    tests/api/routes/test_token.py
    tests/auth/test_users.py
    tests/auth/test_issue.py
    tests/auth/test_login_limit.py
    tests/auth/test_passwords.py
    tests/auth/test_refresh.py
""".split()
REALTIME = """
    app/api/routes/ws.py
    app/core/websocket_protocol.py
    app/realtime/__init__.py
    app/realtime/hub.py
    app/realtime/inbox.py
    app/realtime/member.py
    app/realtime/memory_hub.py
    app/realtime/redis_hub.py
    tests/api/routes/test_ws.py
    tests/core/test_websocket_protocol.py
    tests/realtime/test_inbox.py
    tests/realtime/test_member.py
    tests/realtime/test_memory_hub.py
    tests/realtime/test_realtime.py
    tests/realtime/test_redis_hub.py
""".split()
DATABASE = """
    app/api/dependencies.py
    app/api/routes/items.py
    app/db/__init__.py
    app/db/base.py
    app/db/errors.py
    app/db/models.py
    app/db/migration_state.py
    app/db/sessions.py
    app/db/pool.py
    app/middleware/transaction.py
    migrations/env.py
    migrations/script.py.mako
    migrations/versions/items_0001.py
    tests/api/routes/test_items.py
    tests/fixtures/database.py
    tests/db/test_base.py
    tests/db/test_migration_state.py
    tests/middleware/test_transaction.py
""".split()

Answers = dict[str, object]


def manifest(answers: Answers) -> list[tuple[bool, list[str]]]:
    """Return a row for each pick: whether it was picked, and the files that are there for it."""
    redis = (
        answers["use_rate_limit"] is True
        or answers["use_websocket"] is True
        or answers["background_tasks"] == "taskiq"
    )
    return [
        (answers["use_request_logging"] is True, middleware("request_logging")),
        (answers["use_security_headers"] is True, middleware("security_headers")),
        (answers["use_cors"] is True, middleware("cors")),
        (answers["use_trusted_host"] is True, middleware("trusted_host")),
        (
            answers["use_rate_limit"] is True,
            [
                *middleware("rate_limit"),
                "app/limits/redis_limiter.py",
                "tests/limits/test_redis_limiter.py",
            ],
        ),
        (
            answers["use_rate_limit"] is True or answers["jwt"] == "issue",
            [
                "app/limits/__init__.py",
                "app/limits/limit.py",
                "app/limits/memory_limiter.py",
                "tests/limits/test_memory_limiter.py",
            ],
        ),
        (answers["use_gzip"] is True, middleware("gzip")),
        (answers["use_api_key"] is True, middleware("api_key")),
        (answers["jwt"] != "none", [*middleware("jwt"), *AUTH]),
        (
            answers["jwt"] == "verify",
            [
                "app/auth/jwks.py",
                "app/auth/verify.py",
                "tests/auth/test_jwks.py",
                "tests/auth/test_verify.py",
            ],
        ),
        (answers["jwt"] == "issue", ISSUE),
        (
            answers["background_tasks"] != "none",
            [
                "app/tasks/__init__.py",
                "app/tasks/jobs.py",
                "app/tasks/status.py",
                "tests/api/routes/test_tasks.py",
                "tests/tasks/test_jobs.py",
            ],
        ),
        (
            answers["background_tasks"] == "fastapi",
            [
                "app/api/routes/background_tasks.py",
                "app/tasks/runner.py",
                "tests/api/routes/test_background_tasks.py",
                "tests/tasks/test_runner.py",
            ],
        ),
        (
            answers["background_tasks"] == "taskiq",
            [
                *middleware("after_commit"),
                "app/api/routes/tasks.py",
                "app/tasks/broker.py",
                "app/tasks/middleware.py",
                "app/tasks/streams.py",
                "app/worker.py",
                "tests/tasks/test_broker.py",
                "tests/tasks/test_streams.py",
                "tests/test_worker.py",
            ],
        ),
        (answers["use_websocket"] is True, [*middleware("websocket"), *REALTIME]),
        (redis, ["app/core/redis.py", "tests/core/test_redis.py", "tests/fixtures/redis.py"]),
        (
            answers["use_rate_limit"] is True
            or answers["use_websocket"] is True
            or answers["jwt"] == "issue",
            ["app/core/client_address.py", "tests/core/test_client_address.py"],
        ),
        (answers["use_example_middleware"] is True, middleware("example")),
        (answers["database"] != "none", DATABASE),
        (answers["database"] == "sqlite", database("sqlite")),
        (answers["database"] == "postgresql", database("postgresql")),
        (answers["use_docker"] is True, ["Dockerfile", "compose.yaml", ".dockerignore"]),
        (answers["ci"] == "github", [".github/workflows/ci.yml", ".github/dependabot.yml"]),
        (answers["ci"] == "gitlab", [".gitlab-ci.yml", "renovate.json"]),
    ]


def database(name: str) -> list[str]:
    """Return the files of the database `name`."""
    return [f"app/db/{name}.py", f"tests/fixtures/{name}.py", f"tests/db/test_{name}.py"]


def middleware(name: str) -> list[str]:
    """Return the files of the middleware `name`."""
    return [f"app/middleware/{name}.py", f"tests/middleware/test_{name}.py"]


def prune(rows: list[tuple[bool, list[str]]]) -> None:
    """Remove the files of what was not picked, once all that the manifest names is there."""
    if missing := [path for _, paths in rows for path in paths if not os.path.isfile(path)]:
        sys.exit(
            "ERROR: the manifest names files that the template does not have"
            f" ({', '.join(missing)}). This is a bug of the template: please report it. {left()}"
        )
    for picked, paths in rows:
        if not picked:
            for path in paths:
                os.remove(path)


def left() -> str:
    """Say what becomes of the directory, which Cookiecutter removes only if it has made it."""
    return f"If {os.getcwd()} is left, it is no whole project: delete what was generated there."


def tidy(directory: str) -> None:
    """Remove strays and empty directories."""
    for entry in list(os.scandir(directory)):
        if entry.name in STRAYS:
            remove(entry)
        elif entry.name != ".git" and entry.is_dir(follow_symlinks=False):
            tidy(entry.path)
            if not os.listdir(entry.path):
                os.rmdir(entry.path)


def remove(entry: "os.DirEntry[str]") -> None:
    """Remove a file, or a directory with all that it holds."""
    if entry.is_dir(follow_symlinks=False):
        import shutil  # slow to import, and seldom needed

        shutil.rmtree(entry.path)
    else:
        os.remove(entry.path)


def write_env() -> None:
    """Write .env from .env.example, a fresh secret for each placeholder, readable by its owner."""
    with open(".env.example", encoding="utf-8") as example:
        lines = [with_secret(line) for line in example]
    try:
        descriptor = os.open(".env", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return
    with open(descriptor, "w", encoding="utf-8", newline="\n") as env:
        env.writelines(lines)


def with_secret(line: str) -> str:
    """Return `line` of a .env file with a fresh secret in the place of a placeholder."""
    name, _, value = line.partition("=")
    if name.startswith("#") or value.strip() != PLACEHOLDER:
        return line
    return f"{name}={os.urandom(32).hex()}\n"


def say_what_is_next(answers: Answers) -> None:
    """Print the commands that start the service and run its tests."""
    advice = f"""
Your service is ready. Next:

  cd {answers["project_slug"]}
  uv run uvicorn app.main:app --reload
  uv run pytest
"""
    try:
        os.write(1, advice.encode())
    except OSError:
        return  # nobody listens, which is no reason to take the project back


def main() -> None:
    """Prune and complete the project in the current directory."""
    answers: Answers = json.loads(ANSWERS)
    prune(manifest(answers))
    tidy(".")
    write_env()
    say_what_is_next(answers)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(f"ERROR: interrupted. {left()}")
    except Exception as error:
        problem = f"{type(error).__name__}: {error}"
        sys.exit(f"ERROR: the project could not be completed: {problem}. {left()}")
