"""The questions and the files of each option, stated independently of the template.

The tests compare both. To add an option, add its question to `QUESTIONS` and a row to `OPTIONS`.
"""

from dataclasses import dataclass

Answer = str | bool
Answers = dict[str, Answer]

# In the order of the prompts. A list contains the choices, the default first.
QUESTIONS: dict[str, Answer | list[str]] = {
    "project_name": "My Service",
    "project_slug": "my-service",
    "description": "A FastAPI service",
    "author_name": "Your Name",
    "author_email": "you@example.com",
    "use_request_logging": True,
    "use_security_headers": True,
    "use_cors": True,
    "use_trusted_host": True,
    "use_rate_limit": False,
    "use_gzip": True,
    "use_api_key": False,
    "database": ["none", "sqlite", "postgresql"],
    "jwt": ["none", "verify", "issue"],
    "use_websocket": False,
    "background_tasks": ["none", "fastapi", "taskiq"],
    "use_example_middleware": False,
    "use_docker": True,
    "ci": ["github", "gitlab", "none"],
}


@dataclass(frozen=True)
class Option:
    """Files of a project that depend on the answers.

    `question`, `answers`: the project has the files if the question has one of the answers.
    `words`: are not in any file of a project without the option. `also`: other questions with
    answers that are sufficient as well. `only`: other questions with answers that are required.
    """

    question: str
    answers: tuple[Answer, ...]
    files: frozenset[str]
    words: tuple[str, ...]
    also: tuple[tuple[str, tuple[Answer, ...]], ...] = ()
    only: tuple[tuple[str, tuple[Answer, ...]], ...] = ()

    def __str__(self) -> str:
        return f"{self.question}={'|'.join(map(str, self.answers))}"

    def is_in(self, answers: Answers) -> bool:
        """Return whether a project with these answers to all questions has the files."""
        questions = ((self.question, self.answers), *self.also)
        return any(answers[question] in wanted for question, wanted in questions) and all(
            answers[question] in wanted for question, wanted in self.only
        )


def middleware(name: str) -> frozenset[str]:
    """Return the files of a middleware."""
    return frozenset({f"app/middleware/{name}.py", f"tests/middleware/test_{name}.py"})


def database(name: str) -> frozenset[str]:
    """Return the files of a database."""
    files = {f"app/db/{name}.py", f"tests/fixtures/{name}.py", f"tests/db/test_{name}.py"}
    return frozenset(files)


OPTIONS = [
    Option(
        "use_request_logging",
        (True,),
        middleware("request_logging"),
        ("request_logging", "RequestLogging", "X-Request-ID", "X-Process-Time"),
    ),
    Option(
        "use_security_headers",
        (True,),
        middleware("security_headers"),
        ("security_headers", "SecurityHeaders", "HSTS", "nosniff", "referrer"),
    ),
    Option(
        "use_cors",
        (True,),
        middleware("cors"),
        ("cors", "preflight"),
    ),
    Option(
        "use_trusted_host",
        (True,),
        middleware("trusted_host"),
        ("trusted_host", "TrustedHost", "ALLOWED_HOSTS"),
    ),
    Option(
        "use_rate_limit",
        (True,),
        middleware("rate_limit")
        | {"app/limits/redis_limiter.py", "tests/limits/test_redis_limiter.py"},
        ("rate_limit", "RateLimit", "RATE_LIMIT", "redis_limiter"),
    ),
    Option(
        "use_rate_limit",
        (True,),
        frozenset(
            {
                "app/limits/__init__.py",
                "app/limits/limit.py",
                "app/limits/memory_limiter.py",
                "tests/limits/test_memory_limiter.py",
            }
        ),
        ("app.limits",),
        also=(("jwt", ("issue",)),),
    ),
    Option("use_gzip", (True,), middleware("gzip"), ("gzip", "GZip")),
    Option(
        "use_api_key",
        (True,),
        middleware("api_key"),
        ("api_key", "APIKey", "API key", "X-API-Key"),
    ),
    Option(
        "jwt",
        ("verify", "issue"),
        middleware("jwt")
        | {
            "app/api/routes/me.py",
            "app/auth/__init__.py",
            "app/auth/claims.py",
            "app/auth/dependencies.py",
            "app/auth/keys.py",
            "app/auth/secret_keys.py",
            "app/auth/token_cache.py",
            "app/auth/tokens.py",
            "app/auth/verifier.py",
            "tests/api/routes/test_me.py",
            "tests/auth/support.py",
            "tests/auth/test_claims.py",
            "tests/auth/test_dependencies.py",
            "tests/auth/test_secret_keys.py",
            "tests/auth/test_token_cache.py",
            "tests/auth/test_tokens.py",
            "tests/auth/test_verifier.py",
        },
        ("jwt", "CurrentUser", "access token"),
    ),
    Option(
        "jwt",
        ("verify",),
        frozenset(
            {
                "app/auth/discovery.py",
                "app/auth/fetch.py",
                "app/auth/jwk.py",
                "app/auth/jwks.py",
                "app/auth/verify.py",
                "tests/auth/test_discovery.py",
                "tests/auth/test_fetch.py",
                "tests/auth/test_jwk.py",
                "tests/auth/test_jwks.py",
                "tests/auth/test_verify.py",
            }
        ),
        (
            "JWKS",
            "JWT_ALGORITHM",
            "JWT_ACCEPT_ID_TOKENS",
            "JWT_AUDIENCE_CLAIM",
            "JWT_TYPE",
            "JWT_SCOPE_CLAIMS",
            "discover",
        ),
    ),
    Option(
        "jwt",
        ("issue",),
        frozenset(
            {
                "app/api/routes/users.py",
                "app/api/routes/token.py",
                "app/auth/common_passwords.py",
                "app/auth/users.py",
                "app/auth/issue.py",
                "app/auth/login.py",
                "app/auth/login_limit.py",
                "app/auth/models.py",
                "app/auth/passwords.py",
                "app/auth/refresh.py",
                "app/users.py",
                "tests/api/routes/test_users.py",
                "tests/api/routes/test_token.py",
                "tests/auth/test_common_passwords.py",
                "tests/auth/test_issue.py",
                "tests/auth/test_login.py",
                "tests/auth/test_login_limit.py",
                "tests/auth/test_passwords.py",
                "tests/auth/test_refresh.py",
                "tests/test_users.py",
            }
        ),
        ("argon2", "LOGIN_LIMIT", "REGISTRATION", "refresh_token", "multipart"),
    ),
    Option(
        "background_tasks",
        ("fastapi", "taskiq"),
        frozenset(
            {
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
            }
        ),
        ("app.tasks", "/tasks", "TASK_SHUTDOWN"),
    ),
    Option(
        "background_tasks",
        ("fastapi",),
        frozenset(
            {
                "app/api/routes/background_tasks.py",
                "app/tasks/runner.py",
                "tests/api/routes/test_background_tasks.py",
                "tests/tasks/test_runner.py",
            }
        ),
        ("background_tasks", "TaskRunner"),
    ),
    Option(
        "background_tasks",
        ("taskiq",),
        middleware("after_commit")
        | {
            "app/api/routes/tasks.py",
            "app/tasks/broker.py",
            "app/tasks/cancel.py",
            "app/tasks/insist.py",
            "app/tasks/memory_broker.py",
            "app/tasks/memory_results.py",
            "app/tasks/middleware.py",
            "app/tasks/receiver.py",
            "app/tasks/redis_results.py",
            "app/tasks/registry.py",
            "app/tasks/results.py",
            "app/tasks/schedule.py",
            "app/tasks/scheduler.py",
            "app/tasks/stream_message.py",
            "app/tasks/streams.py",
            "app/tasks/watchdog.py",
            "app/worker.py",
            "tests/tasks/test_broker.py",
            "tests/tasks/test_cancel.py",
            "tests/tasks/test_insist.py",
            "tests/tasks/test_memory_broker.py",
            "tests/tasks/test_receiver.py",
            "tests/tasks/test_results.py",
            "tests/tasks/test_schedule.py",
            "tests/tasks/test_scheduler.py",
            "tests/tasks/test_streams.py",
            "tests/tasks/test_watchdog.py",
            "tests/test_worker.py",
        },
        ("taskiq", "AfterCommit", "middleware.after_commit", "broker"),
    ),
    Option(
        "background_tasks",
        ("taskiq",),
        frozenset({"app/core/redis.py", "tests/core/test_redis.py", "tests/fixtures/redis.py"}),
        ("redis", "REDIS_URL"),
        also=(("use_rate_limit", (True,)), ("use_websocket", (True,))),
    ),
    Option(
        "use_websocket",
        (True,),
        middleware("websocket")
        | {
            "app/api/routes/ws.py",
            "app/core/websocket_protocol.py",
            "app/realtime/__init__.py",
            "app/realtime/hub.py",
            "app/realtime/member.py",
            "app/realtime/memory_hub.py",
            "app/realtime/outgoing_queue.py",
            "app/realtime/redis_hub.py",
            "tests/api/routes/test_ws.py",
            "tests/core/test_websocket_protocol.py",
            "tests/realtime/test_member.py",
            "tests/realtime/test_memory_hub.py",
            "tests/realtime/test_outgoing_queue.py",
            "tests/realtime/test_realtime.py",
            "tests/realtime/test_redis_hub.py",
        },
        ("realtime", "WEBSOCKET_ORIGINS", "websockets>="),
    ),
    Option(
        "use_websocket",
        (True,),
        frozenset({"app/core/client_address.py", "tests/core/test_client_address.py"}),
        ("network_of",),
        also=(("use_rate_limit", (True,)), ("jwt", ("issue",))),
    ),
    Option(
        "use_example_middleware",
        (True,),
        middleware("example"),
        ("example.layer", "ExampleSettings", "EXAMPLE_HEADER", "X-Example"),
    ),
    Option(
        "database",
        ("sqlite", "postgresql"),
        frozenset(
            """
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
        ),
        ("sqlalchemy", "alembic", "greenlet", "DATABASE_", "app.db"),
    ),
    Option(
        "database",
        ("sqlite", "postgresql"),
        frozenset({"app/api/routes/items.py"}),
        ("routes/items.py",),
        only=(("jwt", ("none",)),),
    ),
    Option(
        "database",
        ("sqlite", "postgresql"),
        frozenset(
            {
                "app/api/routes/owned_items.py",
                "app/db/owned_items.py",
                "tests/api/routes/test_owned_items.py",
            }
        ),
        ("owned_items", "OwnedItem", "items:admin"),
        only=(("jwt", ("verify", "issue")),),
    ),
    Option("database", ("sqlite",), database("sqlite"), ("DATABASE_BUSY_TIMEOUT", "app.db.sqlite")),
    Option(
        "database",
        ("postgresql",),
        database("postgresql") | {"app/db/idle.py", "tests/db/test_idle.py"},
        ("postgres", "psycopg", "DATABASE_POOLER"),
    ),
    Option(
        "use_docker",
        (True,),
        frozenset({"Dockerfile", "compose.yaml", ".dockerignore"}),
        ("docker", "compose.yaml"),
    ),
    Option(
        "ci",
        ("github",),
        frozenset({".github/workflows/ci.yml", ".github/dependabot.yml"}),
        ("github", "dependabot"),
    ),
    Option(
        "ci",
        ("gitlab",),
        frozenset({".gitlab-ci.yml", "renovate.json"}),
        ("gitlab", "renovate"),
    ),
]

ALWAYS = frozenset(
    """
    .editorconfig
    .env
    .env.example
    .gitattributes
    .gitignore
    .pre-commit-config.yaml
    README.md
    app/__init__.py
    app/api/__init__.py
    app/api/routes/__init__.py
    app/api/routes/health.py
    app/api/routes/root.py
    app/api/settings.py
    app/check.py
    app/core/__init__.py
    app/config.py
    app/core/errors.py
    app/core/http_protocol.py
    app/core/logging.py
    app/core/paths.py
    app/core/readiness.py
    app/core/server_config.py
    app/core/server_settings.py
    app/core/settings.py
    app/core/telemetry.py
    app/core/unix_socket.py
    app/factory.py
    app/main.py
    app/serve.py
    app/stack.py
    app/middleware/__init__.py
    app/middleware/body_limit.py
    pyproject.toml
    tests/api/routes/test_health.py
    tests/api/routes/test_root.py
    tests/api/test_settings.py
    tests/conftest.py
    tests/support.py
    tests/test_config.py
    tests/core/test_errors.py
    tests/core/test_http_protocol.py
    tests/fixtures/logs.py
    tests/fixtures/server.py
    tests/core/test_logging.py
    tests/core/test_paths.py
    tests/core/test_readiness.py
    tests/core/test_server_settings.py
    tests/core/test_settings.py
    tests/core/test_telemetry.py
    tests/core/test_unix_socket.py
    tests/middleware/test_body_limit.py
    tests/test_stack.py
    tests/test_check.py
    tests/test_factory.py
    tests/test_main.py
    tests/test_serve.py
    """.split()
)

# Variables in `.env` that Compose reads, and that are not settings of the service.
FOR_COMPOSE = frozenset({"POSTGRES_PASSWORD"})

DEFAULTS: Answers = {
    question: default[0] if isinstance(default, list) else default
    for question, default in QUESTIONS.items()
}


def enabling_answers(question: str) -> list[Answer]:
    """Return the answers to a question that turn an option on."""
    default = QUESTIONS[question]
    if isinstance(default, list):
        return [choice for choice in default if choice != "none"]
    return [True] if isinstance(default, bool) else []


NOTHING: Answers = {
    question: "none" if isinstance(default, list) else False
    for question, default in QUESTIONS.items()
    if not isinstance(default, str)
}
# The answers that another answer requires.
NEEDED: dict[tuple[str, Answer], Answers] = {("jwt", "issue"): {"database": "sqlite"}}
# Every option, and of alternatives those that are active in the unrendered template.
EVERYTHING: Answers = {
    **NOTHING,
    **{
        question: enabling_answers(question)[0]
        for question in QUESTIONS
        if enabling_answers(question)
    },
    "jwt": "issue",
    "background_tasks": "taskiq",
}
COMBINATIONS: dict[str, Answers] = {
    "default": {},
    "nothing": NOTHING,
    "everything": EVERYTHING,
    **{
        f"{question}={answer}": NOTHING | NEEDED.get((question, answer), {}) | {question: answer}
        for question in QUESTIONS
        for answer in enabling_answers(question)
    },
}


def chosen_options(answers: Answers) -> list[Option]:
    """Return the options of a project with these answers, and the defaults otherwise."""
    complete = DEFAULTS | answers
    return [row for row in OPTIONS if row.is_in(complete)]


def files_of(answers: Answers) -> set[str]:
    """Return every file of a project with these answers."""
    return set(ALWAYS).union(*(row.files for row in chosen_options(answers)))
