import io
import runpy
import sys
from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy.exc import OperationalError

from app import users
from app.config import Settings

pytestmark = pytest.mark.usefixtures("database")

PASSWORD = "correct horse battery staple"
OTHER = "purple monkey dishwasher"
UNTIL = "Access tokens remain valid until they expire, for up to 900 seconds."

Run = Callable[..., tuple[int, str, str]]
Sql = Callable[..., list[Any]]


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    make_settings: Callable[..., Settings],
) -> Run:
    """Return a function that runs a command and returns its status, its output and its errors."""
    monkeypatch.setattr(users, "get_settings", make_settings)

    def run(line: str, stdin: str = "") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        status = users.main(line.split())
        return status, *capsys.readouterr()

    return run


@pytest.fixture
def type_in(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that makes standard input a terminal, at which somebody types lines."""

    def type_in(*lines: str) -> None:
        class Terminal(io.StringIO):
            def isatty(self) -> bool:
                return True

        def prompt(text: str) -> str:
            if not typed:
                raise EOFError
            return typed.pop(0)

        typed = list(lines)
        monkeypatch.setattr(io, "StringIO", Terminal)
        monkeypatch.setattr(users, "getpass", prompt)

    return type_in


def log_in(client: TestClient, password: str = PASSWORD) -> Any:
    return client.post("/token", data={"username": "ada", "password": password}).json()


def refresh(client: TestClient, tokens: Any) -> int:
    return client.post("/token/refresh", json=tokens).status_code


def test_the_first_admin(run: Run, client: TestClient) -> None:
    created = run("create Ada --scopes admin items:write admin", f"{PASSWORD}\n")
    assert created == (0, "Created ada, scopes: admin items:write.\n", "")
    tokens = log_in(client)
    assert tokens["scope"] == "admin items:write"
    headers = {"Authorization": f"Bearer {tokens['access_token']}"}
    assert client.get("/items", headers=headers).status_code == 200


def test_a_name_is_taken_once(run: Run) -> None:
    assert run("create ada", PASSWORD) == (0, "Created ada, scopes: none.\n", "")
    message = "error: a user with the name ada already exists\n"
    assert run("create ADA", PASSWORD) == (1, "", message)


@pytest.mark.parametrize("command", ["create", "set-password"])
@pytest.mark.parametrize(
    ("name", "stdin", "message"),
    [
        ("ada", "", "PASSWORD: String should have at least 15 characters"),
        ("ada", "hunter2\n", "PASSWORD: String should have at least 15 characters"),
        (
            "ada",
            "ada-ada-ada-ada-ada",
            "PASSWORD: is easy to guess: add words that are not common and not your name",
        ),
        ("ada/", PASSWORD, "USERNAME: String should match pattern '^[A-Za-z0-9._@+-]+$'"),
    ],
)
def test_invalid_names_and_passwords_are_described_and_not_printed(
    command: str, name: str, stdin: str, message: str, run: Run, sql: Sql
) -> None:
    assert run(f"{command} {name}", stdin) == (1, "", f"error: {message}\n")
    assert sql("SELECT count(*) FROM users") == [(0,)]


def test_a_password_that_is_set_ends_all_logins(run: Run, client: TestClient) -> None:
    run("create ada", PASSWORD)
    tokens = log_in(client)
    message = f"Set the password of ada and ended all logins. {UNTIL}\n"
    assert run("set-password ada", f"{OTHER}\r\n") == (0, message, "")
    assert refresh(client, tokens) == 401
    assert log_in(client)["error"]["code"] == 401
    assert log_in(client, OTHER)["access_token"]


def test_scopes_are_replaced(run: Run, client: TestClient) -> None:
    run("create ada --scopes admin", PASSWORD)
    changed = run("set-scopes ADA items:read items:write")
    assert changed == (0, f"Changed ada, scopes: items:read items:write. {UNTIL}\n", "")
    assert log_in(client)["scope"] == "items:read items:write"
    assert run("set-scopes ada") == (0, f"Changed ada, scopes: none. {UNTIL}\n", "")
    assert log_in(client)["scope"] == ""


@pytest.mark.parametrize(
    ("scopes", "message"),
    [
        ('"admin"', "error: not a scope: '\"admin\"'; use printable ASCII without spaces\n"),
        ("ä", "error: not a scope: 'ä'; use printable ASCII without spaces\n"),
        ("x" * 1001, "error: the scopes have more than 1000 characters\n"),
    ],
)
def test_invalid_scopes_are_rejected(scopes: str, message: str, run: Run, sql: Sql) -> None:
    assert run(f"create ada --scopes {scopes}", PASSWORD) == (1, "", message)
    run("create ada --scopes a", PASSWORD)
    assert run(f"set-scopes ada {scopes}") == (1, "", message)
    assert sql("SELECT scopes FROM users") == [("a",)]


def test_a_deactivated_user_cannot_log_in_or_refresh(run: Run, client: TestClient) -> None:
    run("create ada", PASSWORD)
    tokens = log_in(client)
    message = f"Deactivated ada and ended all logins. {UNTIL}\n"
    assert run("deactivate ada") == (0, message, "")
    assert log_in(client)["error"]["code"] == 401
    # As the message says.
    headers = {"Authorization": f"Bearer {tokens['access_token']}"}
    assert client.get("/users/me", headers=headers).status_code == 200
    assert run("activate ada") == (0, "Activated ada.\n", "")
    # The login was ended, rather than paused.
    assert refresh(client, tokens) == 401
    assert log_in(client)["access_token"]


def test_all_logins_of_one_user_are_ended(run: Run, client: TestClient, sql: Sql) -> None:
    run("create ada", PASSWORD)
    run("create bob", OTHER)
    logins = [log_in(client), log_in(client)]
    bob = client.post("/token", data={"username": "bob", "password": OTHER}).json()
    assert run("log-out ada") == (0, f"Ended all logins of ada. {UNTIL}\n", "")
    assert [refresh(client, tokens) for tokens in [*logins, bob]] == [401, 401, 200]
    assert log_in(client)["access_token"]


def test_users_are_listed(run: Run) -> None:
    assert run("list") == (0, "NAME\tSTATUS\tCREATED\tSCOPES\n", "")
    run("create bob --scopes a b", OTHER)
    run("create ada", PASSWORD)
    run("deactivate ada")
    status, output, _ = run("list")
    rows = [line.split("\t") for line in output.splitlines()[1:]]
    assert [[row[0], row[1], row[3]] for row in rows] == [
        ["ada", "inactive", ""],
        ["bob", "active", "a b"],
    ]


@pytest.mark.parametrize("command", ["set-scopes", "deactivate", "activate", "log-out"])
def test_an_unknown_user_is_an_error(command: str, run: Run) -> None:
    message = "error: there is no user with the name bob\n"
    assert run(f"{command} bob") == (1, "", message)
    assert run("set-password bob", PASSWORD) == (1, "", message)


def test_a_terminal_prompts_for_the_password_twice(
    run: Run, type_in: Callable[..., None], sql: Sql
) -> None:
    type_in(PASSWORD, PASSWORD)
    assert run("create ada")[0] == 0
    type_in(PASSWORD, OTHER)
    assert run("create bob") == (1, "", "error: the passwords differ\n")
    type_in(PASSWORD)
    assert run("create bob") == (1, "", "\nerror: interrupted\n")
    assert sql("SELECT username FROM users") == [("ada",)]


def test_an_error_of_the_database_says_what_to_check(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(settings: Settings) -> None:
        raise OperationalError("SELECT 1", {}, Exception("no such host\nDETAIL: hunter2"))

    monkeypatch.setattr("app.db.create_engine", fail)
    assert run("list") == (
        1,
        "",
        "error: cannot use the database: no such host; check DATABASE_URL, and apply the migrations"
        " with alembic upgrade heads\n",
    )


@pytest.mark.parametrize("line", ["", "create", "create ada hunter2", "delete ada", "list ada"])
def test_wrong_usage(line: str, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        run(line)
    assert end.value.code == 2
    assert "usage: python -m app.users" in capsys.readouterr().err


def test_help(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["users", "--help"])
    monkeypatch.delitem(sys.modules, "app.users")
    with pytest.raises(SystemExit) as end:
        runpy.run_module("app.users", run_name="__main__")
    assert end.value.code == 0
    output = " ".join(capsys.readouterr().out.split())
    assert output.startswith("usage: python -m app.users [-h] COMMAND ...")
    for command in (
        *("create", "set-password", "set-scopes", "deactivate", "activate", "log-out", "list"),
        "also those of a deactivated user remain valid until they expire",
        "JWT_ACCESS_LIFETIME",
    ):
        assert command in output
