"""Remove the files of options that were not chosen, and write `.env`.

Cookiecutter renders this file and runs it in the new project directory, with its own Python. It
uses only the standard library, and imports little, because every user waits for it.
"""

import json
import os
import sys

# What running the service in a checkout of the template leaves there. Cookiecutter copies it.
STRAYS = {
    "__pycache__",
    ".coverage",
    ".env",
    ".mypy_cache",
    ".pytest_cache",
    ".ruff_cache",
    ".venv",
    "app.db",
    "app.db-shm",
    "app.db-wal",
    "uv.lock",
}
PLACEHOLDER = "change-me"
COPIER_ANSWERS = ".copier-answers.yml"
COPIER_COMMENT = (
    "# Written by Copier; an update reads it."
    " To change an answer, run `copier update --data NAME=VALUE`."
)

# tojson writes an apostrophe as \u0027, so no answer can end this literal.
ANSWERS = r'''{{ cookiecutter | tojson }}'''  # fmt: skip

AUTH = """
    app/api/routes/me.py
    app/auth/__init__.py
    app/auth/claims.py
    app/auth/dependencies.py
    app/auth/keys.py
    app/auth/secret_keys.py
    app/auth/token_cache.py
    app/auth/tokens.py
    app/auth/verifier.py
    tests/api/routes/test_me.py
    tests/auth/support.py
    tests/auth/test_claims.py
    tests/auth/test_dependencies.py
    tests/auth/test_secret_keys.py
    tests/auth/test_token_cache.py
    tests/auth/test_tokens.py
    tests/auth/test_verifier.py
""".split()
VERIFY = """
    app/auth/discovery.py
    app/auth/fetch.py
    app/auth/jwk.py
    app/auth/jwks.py
    app/auth/verify.py
    tests/auth/test_discovery.py
    tests/auth/test_fetch.py
    tests/auth/test_jwk.py
    tests/auth/test_jwks.py
    tests/auth/test_verify.py
""".split()
ISSUE = """
    app/api/routes/users.py
    app/api/routes/token.py
    app/auth/common_passwords.py
    app/auth/users.py
    app/auth/issue.py
    app/auth/login.py
    app/auth/login_limit.py
    app/auth/models.py
    app/auth/passwords.py
    app/auth/refresh.py
    app/users.py
    tests/api/routes/test_users.py
    tests/api/routes/test_token.py
    tests/auth/test_common_passwords.py
    tests/auth/test_issue.py
    tests/auth/test_login.py
    tests/auth/test_login_limit.py
    tests/auth/test_passwords.py
    tests/auth/test_refresh.py
    tests/test_users.py
""".split()
OWNED_ITEMS = """
    app/api/routes/owned_items.py
    app/db/owned_items.py
    tests/api/routes/test_owned_items.py
""".split()
REALTIME = """
    app/api/routes/ws.py
    app/core/websocket_protocol.py
    app/realtime/__init__.py
    app/realtime/hub.py
    app/realtime/member.py
    app/realtime/memory_hub.py
    app/realtime/outgoing_queue.py
    app/realtime/redis_hub.py
    tests/api/routes/test_ws.py
    tests/core/test_websocket_protocol.py
    tests/realtime/test_member.py
    tests/realtime/test_memory_hub.py
    tests/realtime/test_outgoing_queue.py
    tests/realtime/test_realtime.py
    tests/realtime/test_redis_hub.py
""".split()
DATABASE = """
    app/api/dependencies.py
    app/db/__init__.py
    app/db/base.py
    app/db/errors.py
    app/db/models.py
    app/db/outage.py
    app/db/migration_state.py
    app/db/sessions.py
    app/db/pool.py
    app/middleware/transaction.py
    migrations/env.py
    migrations/script.py.mako
    migrations/versions/0001_initial.py
    tests/api/routes/test_items.py
    tests/fixtures/database.py
    tests/db/test_base.py
    tests/db/test_errors.py
    tests/db/test_migration_state.py
    tests/db/test_outage.py
    tests/middleware/test_transaction.py
""".split()

TASKIQ = """
    app/api/routes/tasks.py
    app/tasks/broker.py
    app/tasks/cancel.py
    app/tasks/insist.py
    app/tasks/memory_broker.py
    app/tasks/memory_results.py
    app/tasks/middleware.py
    app/tasks/receiver.py
    app/tasks/redis_results.py
    app/tasks/registry.py
    app/tasks/results.py
    app/tasks/schedule.py
    app/tasks/scheduler.py
    app/tasks/stream_message.py
    app/tasks/streams.py
    app/tasks/watchdog.py
    app/worker.py
    tests/tasks/test_broker.py
    tests/tasks/test_cancel.py
    tests/tasks/test_insist.py
    tests/tasks/test_memory_broker.py
    tests/tasks/test_receiver.py
    tests/tasks/test_results.py
    tests/tasks/test_schedule.py
    tests/tasks/test_scheduler.py
    tests/tasks/test_streams.py
    tests/tasks/test_watchdog.py
    tests/test_worker.py
""".split()

Answers = dict[str, object]


def manifest(answers: Answers) -> list[tuple[bool, list[str]]]:
    """Return one row per option: whether it was chosen, and the files that it owns."""
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
        (answers["jwt"] == "verify", VERIFY),
        (answers["jwt"] == "issue", ISSUE),
        (answers["database"] != "none" and answers["jwt"] == "none", ["app/api/routes/items.py"]),
        (answers["database"] != "none" and answers["jwt"] != "none", OWNED_ITEMS),
        (
            answers["background_tasks"] != "none",
            [
                "app/tasks/__init__.py",
                "app/tasks/errors.py",
                "app/tasks/job.py",
                "app/tasks/jobs.py",
                "app/tasks/owner.py",
                "app/tasks/status.py",
                "tests/api/routes/test_tasks.py",
                "tests/tasks/test_context.py",
                "tests/tasks/test_job.py",
                "tests/tasks/test_jobs.py",
                "tests/tasks/test_owner.py",
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
                *TASKIQ,
            ],
        ),
        (answers["use_websocket"] is True, [*middleware("websocket"), *REALTIME]),
        (
            answers["__redis"] == "redis",
            ["app/core/redis.py", "tests/core/test_redis.py", "tests/fixtures/redis.py"],
        ),
        (
            answers["use_rate_limit"] is True
            or answers["use_websocket"] is True
            or answers["jwt"] == "issue",
            ["app/core/client_address.py", "tests/core/test_client_address.py"],
        ),
        (answers["use_example_middleware"] is True, middleware("example")),
        (answers["database"] != "none", DATABASE),
        (answers["database"] == "sqlite", database("sqlite")),
        (
            answers["database"] == "postgresql",
            [*database("postgresql"), "app/db/idle.py", "tests/db/test_idle.py"],
        ),
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
    """Remove the files of the options that were not chosen.

    Removes nothing if a file of the manifest is missing, but exits with an error.
    """
    if missing := [path for _, paths in rows for path in paths if not os.path.isfile(path)]:
        sys.exit(
            "ERROR: The manifest lists files that the template does not have"
            f" ({', '.join(missing)}). This is a bug in the template; please report it. {remedy()}"
        )
    for is_chosen, paths in rows:
        if not is_chosen:
            for path in paths:
                os.remove(path)


def remedy() -> str:
    """Return what to do about the directory, which Cookiecutter removes only if it created it."""
    return f"If {os.getcwd()} still exists, it is incomplete; delete what was generated there."


def tidy(directory: str) -> None:
    """Remove strays and empty directories, except in a Git repository."""
    for entry in list(os.scandir(directory)):
        if entry.name in STRAYS:
            remove(entry)
        elif entry.name != ".git" and entry.is_dir(follow_symlinks=False):
            tidy(entry.path)
            if not os.listdir(entry.path):
                os.rmdir(entry.path)


def remove(entry: "os.DirEntry[str]") -> None:
    """Remove a file, or a directory with its contents."""
    if entry.is_dir(follow_symlinks=False):
        import shutil  # slow to import, and rarely needed

        shutil.rmtree(entry.path)
    else:
        os.remove(entry.path)


def write_env() -> None:
    """Write `.env` from `.env.example`, with a fresh secret in place of each placeholder.

    Only its owner may read the file.
    """
    with open(".env.example", encoding="utf-8") as example:
        lines = [with_secret(line) for line in example]
    descriptor = os.open(".env", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "w", encoding="utf-8", newline="\n") as env:
        env.writelines(lines)


def with_secret(line: str) -> str:
    """Return a line of a `.env` file with a fresh secret in place of the placeholder."""
    name, _, value = line.partition("=")
    if name.startswith("#") or value.strip() != PLACEHOLDER:
        return line
    return f"{name}={os.urandom(32).hex()}\n"


def write_copier_answers(answers: Answers) -> None:
    """Write what `copier update` reads: the template, its version and the answers.

    Only if all of that is certain. Otherwise the project has no such file, and README.md says how
    to link it to the template.
    """
    if os.path.exists(COPIER_ANSWERS):
        os.remove(COPIER_ANSWERS)  # Cookiecutter has rendered it empty.
    try:
        source = template_source(answers)
    except (OSError, ValueError, IndexError):
        return  # A kind of checkout that is not known here.
    if source is None:
        return
    lines = [COPIER_COMMENT, *(f"{name}: {quoted(value)}" for name, value in source.items())]
    questions = [name for name in answers if not name.startswith("_")]
    lines += [f"{name}: {quoted(answers[name])}" for name in questions]
    with open(COPIER_ANSWERS, "w", encoding="utf-8", newline="\n") as file:
        file.write("\n".join([*lines, ""]))


def quoted(value: object) -> str:
    """Return an answer in YAML."""
    if isinstance(value, bool):
        return str(value).lower()
    return "'" + str(value).replace("'", "''") + "'"


def template_source(answers: Answers) -> "dict[str, str] | None":
    """Return the commit and the address of the template, or None if they are not certain.

    Git is not run: it may be slow, ask questions, or answer for a repository of the user's own.
    """
    template, checkout = str(answers.get("_template", "")), str(answers.get("_repo_dir", ""))
    if not os.path.isabs(checkout) or not os.path.exists(os.path.join(checkout, ".git")):
        return None
    directory, common = git_directories(checkout)
    commit = head_of(directory, common)
    if not is_hash(commit) or not is_clean(checkout, directory):
        return None
    address = checkout if os.path.isdir(template) else without_credentials(template)
    return {"_commit": tag_of(commit, common) or commit, "_src_path": address}


def git_directories(checkout: str) -> "tuple[str, str]":
    """Return the git directory of a checkout, and the one that its work trees share."""
    directory = os.path.join(checkout, ".git")
    if os.path.isdir(directory):
        return directory, directory
    directory = os.path.join(checkout, read(directory).removeprefix("gitdir: "))
    return directory, os.path.join(directory, read(os.path.join(directory, "commondir")))


def read(*path: str) -> str:
    """Return what a file of git says."""
    with open(os.path.join(*path), encoding="utf-8") as file:
        return file.read().strip()


def is_hash(text: str) -> bool:
    """Return whether a text is the full hash of a commit."""
    return len(text) in (40, 64) and not set(text) - set("0123456789abcdef")


def packed_refs(common: str) -> "dict[str, str]":
    """Return the commits of packed references by name; of an annotated tag, what it tags."""
    path = os.path.join(common, "packed-refs")
    found, name = {}, ""
    for line in read(path).splitlines() if os.path.exists(path) else []:
        if line.startswith("^"):
            found[name] = line[1:]
        elif not line.startswith("#"):
            commit, _, name = line.partition(" ")
            found[name] = commit
    return found


def head_of(directory: str, common: str) -> str:
    """Return the commit that is checked out."""
    head = read(directory, "HEAD")
    if not head.startswith("ref: "):
        return head
    name = head.removeprefix("ref: ")
    if os.path.exists(os.path.join(common, name)):
        return read(common, name)
    return packed_refs(common).get(name, "")


def tag_of(commit: str, common: str) -> str:
    """Return the release tag of a commit, or nothing."""
    refs = packed_refs(common)
    directory = os.path.join(common, "refs", "tags")
    for name in os.listdir(directory) if os.path.isdir(directory) else []:
        if os.path.isfile(os.path.join(directory, name)):
            refs[f"refs/tags/{name}"] = read(directory, name)
    tags = [name.removeprefix("refs/tags/") for name in refs if refs[name] == commit]
    return max((tag for tag in tags if tag[:1] == "v" and tag[1:2].isdigit()), default="")


def is_clean(checkout: str, directory: str) -> bool:
    """Return whether the files of a checkout are those of its commit.

    Compares them with the index by size and time, as git does, and looks for changes that are
    staged and for files of the template that the index does not have. Source: https://git-scm.com/docs/index-format
    """
    with open(os.path.join(directory, "index"), "rb") as file:
        index = file.read()
    number = int.from_bytes
    if index[:4] != b"DIRC" or number(index[4:8], "big") not in (2, 3):
        return False
    start, tracked = 12, set()
    for _ in range(number(index[8:12], "big")):
        seconds, nanoseconds = (
            number(index[start + 8 : start + 12], "big"),
            number(index[start + 12 : start + 16], "big"),
        )
        size, flags = (
            number(index[start + 36 : start + 40], "big"),
            number(index[start + 60 : start + 62], "big"),
        )
        name = start + (64 if flags & 0x4000 else 62)
        end = index.index(b"\0", name)
        path = os.path.join(checkout, index[name:end].decode("utf-8"))
        found = os.lstat(path)
        if (seconds, nanoseconds, size) != (*divmod(found.st_mtime_ns, 10**9), found.st_size):
            return False
        tracked.add(os.path.normpath(path))
        start += (end - start + 8) // 8 * 8
    # The tree that git keeps beside the entries is that of the commit, or -1 after `git add`.
    if index[start : start + 4] != b"TREE" or index[start + 8 : start + 10] in (b"", b"\0-"):
        return False
    # Not written out, because Cookiecutter renders this file.
    [template] = [name for name in os.listdir(checkout) if name.startswith("{" * 2)]
    for parent, directories, files in os.walk(os.path.join(checkout, template)):
        directories[:] = [name for name in directories if name not in STRAYS]
        if any(os.path.join(parent, name) not in tracked for name in files if name not in STRAYS):
            return False
    return True


def without_credentials(address: str) -> str:
    """Return an address without the user name and the password that it may hold."""
    scheme, separator, rest = address.partition("://")
    if not separator:
        return address
    host, slash, path = rest.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"


def print_next_steps(answers: Answers) -> None:
    """Print the commands that start the service and run its tests."""
    text = f"""
Your service is ready. Next:

  cd {answers["project_slug"]}
  uv run uvicorn app.main:app --reload
  uv run pytest
"""
    try:
        os.write(1, text.encode())
    except OSError:
        return  # a closed standard output must not make the hook fail


def main() -> None:
    """Complete the project in the current directory."""
    answers: Answers = json.loads(ANSWERS)
    prune(manifest(answers))
    tidy(".")
    write_env()
    write_copier_answers(answers)
    print_next_steps(answers)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(f"ERROR: Interrupted. {remedy()}")
    except Exception as error:
        problem = f"{type(error).__name__}: {error}"
        sys.exit(f"ERROR: The project could not be completed: {problem}. {remedy()}")
