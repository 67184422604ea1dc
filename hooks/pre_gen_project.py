"""Reject invalid answers, all of them at once, before any file is written.

Cookiecutter renders this file and runs it in the new project directory, with its own Python. It
uses only the standard library, and imports little, because every user waits for it.
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

# A project must not have the name of one of its dependencies, even an indirect one. At best, uv
# refuses to install it; at worst, it installs releases from years ago that did not have this
# dependency yet.
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

# Control characters, surrogates, line separators, and marks that reorder the text around them. TOML
# rejects most of them, and the others mislead readers of the files. The joiner in emoji (U+200D) is
# allowed.
UNSAFE_RANGES = (
    (0x0000, 0x001F),
    (0x007F, 0x009F),
    (0x061C, 0x061C),
    (0x200E, 0x200F),
    (0x2028, 0x202E),
    (0x2066, 0x2069),
    (0xD800, 0xDFFF),
)

# tojson writes an apostrophe as \u0027, so no answer can end this literal.
ANSWERS = r'''{{ cookiecutter | tojson }}'''  # fmt: skip


def problems(answers: dict[str, object], directory: list[str]) -> list[str]:
    """Return one line per problem: the question, what is wrong, and what to do.

    `directory`: the names of the entries in the project directory.
    """
    checked = [
        *((question, text_problem(question, answers.get(question))) for question in TEXTS),
        *((question, boolean_problem(question, answers.get(question))) for question in BOOLEANS),
        *((question, choice_problem(question, answers.get(question))) for question in CHOICES),
        ("jwt", jwt_problem(answers)),
        ("project_slug", directory_problem(directory)),
    ]
    return [f"{question}: {problem}" for question, problem in checked if problem]


def text_problem(question: str, answer: object) -> str | None:
    """Return what is wrong with the answer to a question for a text, if anything."""
    if not isinstance(answer, str):
        return f"{shown(answer)} is not a text; answer with a text"
    if len(answer) > TEXT_LENGTH:
        return f"has {len(answer)} characters; use at most {TEXT_LENGTH}"
    if unsafe := {f"U+{ord(character):04X}" for character in answer if is_unsafe(character)}:
        return f"contains unsafe characters ({', '.join(sorted(unsafe))}); remove them"
    if question == "project_slug":
        return slug_problem(answer)
    if question == "project_name" and not answer.strip():
        return "must not be blank; enter a name"
    if question == "author_email" and answer and not is_address(answer):
        return (
            f"{shown(answer)} is not an e-mail address; enter an address such as you@example.com,"
            " or nothing"
        )
    return None


def is_unsafe(character: str) -> bool:
    """Return whether a character is in `UNSAFE_RANGES`."""
    return any(first <= ord(character) <= last for first, last in UNSAFE_RANGES)


def slug_problem(slug: str) -> str | None:
    """Return why the slug is not valid as a directory on all systems or as a package (PEP 508)."""
    name = slug.lower()
    if (
        not (slug and slug.isascii())
        or not ALPHANUMERIC.issuperset(name[0] + name[-1])
        or not (ALPHANUMERIC | SEPARATORS).issuperset(name)
    ):
        return (
            f"{shown(slug)} is not a valid name for a directory and a package; use ASCII letters,"
            " digits, '-', '_' and '.', with a letter or a digit at the start and at the end"
        )
    if len(slug) > SLUG_LENGTH:
        return f"has {len(slug)} characters; use at most {SLUG_LENGTH}"
    if name.partition(".")[0] in WINDOWS_DEVICES:
        return f"{shown(slug)} is the name of a device on Windows; choose another name"
    if normalized(name) in DEPENDENCIES:
        return f"{shown(slug)} is a package that the service depends on; choose another name"
    return None


def normalized(name: str) -> str:
    """Return a lower-case name in the form in which package indexes compare it (PEP 503)."""
    return "-".join(filter(None, name.replace("_", "-").replace(".", "-").split("-")))


def is_address(text: str) -> bool:
    """Return whether a text looks like an e-mail address."""
    user, _, host = text.partition("@")
    return bool(user and host) and not any(
        character.isspace() or character in '@<>()[],;:"\\' for character in user + host
    )


def boolean_problem(question: str, answer: object) -> str | None:
    """Return what is wrong with the answer to a yes-or-no question, if anything."""
    if not isinstance(answer, bool):
        # Older releases keep an answer on the command line as text, and the text "n" is true.
        return f"{shown(answer)} is not a boolean; answer yes or no, with Cookiecutter 2.7 or newer"
    return None


def choice_problem(question: str, answer: object) -> str | None:
    """Return what is wrong with the answer to a question with choices, if anything."""
    if answer not in CHOICES[question]:
        return f"{shown(answer)} is not a choice; choose one of: {', '.join(CHOICES[question])}"
    return None


def jwt_problem(answers: dict[str, object]) -> str | None:
    """Return which other answer the answer to `jwt` requires, if any."""
    if answers.get("jwt") == "issue" and answers.get("database") == "none":
        return (
            "'issue' needs a database; answer database=sqlite or database=postgresql as well,"
            " or answer jwt=verify or jwt=none"
        )
    return None


def directory_problem(directory: list[str]) -> str | None:
    """Return why no project may be generated into the directory, if it contains files."""
    if set(directory) - {".git"}:
        return (
            "the directory of this name is not empty; choose another name, choose another place"
            " with --output-dir, delete what an interrupted run left there, or change an existing"
            " project with `copier update`"
        )
    return None


def shown(answer: object) -> str:
    """Return an answer for use in a message: in ASCII, on one line, shortened."""
    text = ascii(answer)
    return text if len(text) <= 60 else f"{text[:57]}..."


def main() -> None:
    """Exit with status 1 and one line per problem on standard error if there are any."""
    if found := problems(json.loads(ANSWERS), os.listdir()):
        sys.exit("\n".join(["ERROR: No project was generated. Invalid answers:", *found]))


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(
            f"ERROR: Interrupted. No project was generated; delete {os.getcwd()} if it is empty."
        )
    except Exception as error:
        sys.exit(f"ERROR: No project was generated: {type(error).__name__}: {error}")
