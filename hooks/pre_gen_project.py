"""Refuse answers that make no working project: all of them at once, before a file is written.

Cookiecutter renders this file and runs it in the new project directory, with its own Python:
standard library only, and few imports, because everybody who generates a project waits for them.
"""

import json
import os
import sys

TEXTS = ("project_name", "project_slug", "description", "author_name", "author_email")
BOOLEANS = (
    "use_request_logging",
    "use_security_headers",
    "use_cors",
    "use_trusted_host",
    "use_rate_limit",
    "use_gzip",
    "use_api_key",
    "use_websocket",
    "use_example_middleware",
    "use_docker",
)
CHOICES = {
    "database": ("none", "sqlite", "postgresql"),
    "jwt": ("none", "verify", "issue"),
    "background_tasks": ("none", "fastapi", "taskiq"),
    "ci": ("github", "gitlab", "none"),
}

TEXT_LENGTH = 200
SLUG_LENGTH = 64
ALPHANUMERIC = frozenset("abcdefghijklmnopqrstuvwxyz0123456789")
SEPARATORS = frozenset("-_.")
WINDOWS_DEVICES = {
    "con",
    "prn",
    "aux",
    "nul",
    *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10)),
}

# A project that bears the name of something it depends on, even indirectly, shadows it: at best uv
# refuses that, at worst it installs releases from years ago that did not depend on it yet.
DEPENDENCIES = frozenset(
    """
    aiohappyeyeballs aiohttp aiosignal aiosqlite alembic annotated-doc annotated-types anyio
    argon2-cffi argon2-cffi-bindings ast-serialize async-timeout asyncpg attrs certifi cffi cfgv
    charset-normalizer click colorama coverage cryptography deprecated distlib execnet fakeredis
    fastapi filelock frozenlist googleapis-common-protos greenlet h11 hiredis httpcore httpcore2
    httptools httpx httpx2 httpx2-jsfetch hypothesis identify idna iniconfig librt limits lupa mako
    markupsafe multidict mypy mypy-extensions nodeenv opentelemetry-api
    opentelemetry-exporter-http-transport opentelemetry-exporter-otlp-common
    opentelemetry-exporter-otlp-proto-common opentelemetry-exporter-otlp-proto-http
    opentelemetry-proto opentelemetry-sdk opentelemetry-semantic-conventions packaging pathspec
    platformdirs pluggy pre-commit propcache protobuf psycopg psycopg-binary pycparser pycron
    pydantic pydantic-core pydantic-settings pygments pyjwt pytest pytest-cov pytest-xdist
    python-discovery python-dotenv python-multipart pyyaml redis requests ruff sniffio
    sortedcontainers sqlalchemy starlette taskiq taskiq-dependencies taskiq-redis truststore
    typing-extensions typing-inspection tzdata urllib3 uvicorn uvloop virtualenv watchfiles
    websockets wrapt yarl
    """.split()
)

# Control characters, surrogates, line separators and the marks that reorder the text around them:
# TOML refuses most of them, and the rest mislead whoever reads the files. The joiner inside emoji
# (U+200D) is welcome.
UNSAFE_RANGES = (
    (0x0000, 0x001F),
    (0x007F, 0x009F),
    (0x061C, 0x061C),
    (0x200E, 0x200F),
    (0x2028, 0x202E),
    (0x2066, 0x2069),
    (0xD800, 0xDFFF),
)

# tojson writes an apostrophe as \u0027, so that no answer can end this literal.
ANSWERS = r'''{{ cookiecutter | tojson }}'''  # fmt: skip


def problems(answers: dict[str, object], directory: list[str]) -> list[str]:
    """Return a line for each problem with the answers and with what the directory holds already."""
    checked = [
        *((question, text_problem(question, answers.get(question))) for question in TEXTS),
        *((question, boolean_problem(question, answers.get(question))) for question in BOOLEANS),
        *((question, choice_problem(question, answers.get(question))) for question in CHOICES),
        ("jwt", jwt_problem(answers)),
        ("project_slug", directory_problem(directory)),
    ]
    return [f"{question}: {problem}" for question, problem in checked if problem]


def text_problem(question: str, answer: object) -> str | None:
    """Say what is wrong with the answer to a question in free text."""
    if not isinstance(answer, str):
        return f"{shown(answer)} is not text; answer with text"
    if len(answer) > TEXT_LENGTH:
        return f"it has {len(answer)} characters; answer with at most {TEXT_LENGTH}"
    if unsafe := {f"U+{ord(character):04X}" for character in answer if is_unsafe(character)}:
        return f"it holds unsafe characters ({', '.join(sorted(unsafe))}); answer without them"
    if question == "project_slug":
        return slug_problem(answer)
    if question == "project_name" and not answer.strip():
        return "it is blank; answer with a name"
    if question == "author_email" and answer and not is_address(answer):
        return f"{shown(answer)} is not an address; answer like you@example.com, or with nothing"
    return None


def is_unsafe(character: str) -> bool:
    """Whether no file of a project should hold the character."""
    return any(first <= ord(character) <= last for first, last in UNSAFE_RANGES)


def slug_problem(slug: str) -> str | None:
    """Say why the slug cannot name a directory on every system, or a distribution (PEP 508)."""
    name = slug.lower()
    if (
        not (slug and slug.isascii())
        or not ALPHANUMERIC.issuperset(name[0] + name[-1])
        or not (ALPHANUMERIC | SEPARATORS).issuperset(name)
    ):
        return (
            f"{shown(slug)} cannot name both a directory and a distribution; answer with"
            " ASCII letters, digits, '-', '_' and '.', a letter or a digit first and last"
        )
    if len(slug) > SLUG_LENGTH:
        return f"it has {len(slug)} characters; answer with at most {SLUG_LENGTH}"
    if name.partition(".")[0] in WINDOWS_DEVICES:
        return f"{shown(slug)} is a device on Windows; answer with another name"
    if normalized(name) in DEPENDENCIES:
        return f"{shown(slug)} is a package that the service depends on; answer with another name"
    return None


def normalized(name: str) -> str:
    """Return the lower-case name as package indexes compare it (PEP 503)."""
    return "-".join(filter(None, name.replace("_", "-").replace(".", "-").split("-")))


def is_address(text: str) -> bool:
    """Whether the text looks like an e-mail address."""
    user, _, host = text.partition("@")
    return bool(user and host) and not any(
        character.isspace() or character in '@<>()[],;:"\\' for character in user + host
    )


def boolean_problem(question: str, answer: object) -> str | None:
    """Say what is wrong with the answer to a yes-or-no question."""
    if not isinstance(answer, bool):
        # Older releases leave what was typed on the command line as text, and "n" is true.
        return f"{shown(answer)} is not a boolean; answer yes or no to Cookiecutter 2.7 or newer"
    return None


def choice_problem(question: str, answer: object) -> str | None:
    """Say what is wrong with the answer to a question that lists its choices."""
    if answer not in CHOICES[question]:
        return (
            f"{shown(answer)} is not a choice; answer with one of: {', '.join(CHOICES[question])}"
        )
    return None


def jwt_problem(answers: dict[str, object]) -> str | None:
    """Say which other answer the answer to jwt asks for."""
    if answers.get("jwt") == "issue" and answers.get("database") == "none":
        return "issue keeps users in a database; pick a database too, or answer with verify or none"
    return None


def directory_problem(directory: list[str]) -> str | None:
    """Say why a project cannot go where there are files already: it would overwrite them."""
    if set(directory) - {".git"}:
        return (
            "its directory is not empty; answer with another name, or go elsewhere with"
            " --output-dir, or delete what an interrupted run left there, or change a project that"
            " was generated by `cruft update`"
        )
    return None


def shown(answer: object) -> str:
    """Return the answer as a message can show it: in ASCII, on one line, shortened."""
    text = ascii(answer)
    return text if len(text) <= 60 else f"{text[:57]}..."


def main() -> None:
    """Exit in silence, or with 1 and every problem on the standard error output."""
    if found := problems(json.loads(ANSWERS), os.listdir()):
        sys.exit("\n".join(["ERROR: nothing was generated, because of these answers:", *found]))


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(f"ERROR: interrupted: nothing was generated; {os.getcwd()} may be left, empty")
    except Exception as error:
        sys.exit(f"ERROR: nothing was generated: {type(error).__name__}: {error}")
