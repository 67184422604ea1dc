"""Manage user accounts: `python -m app.users --help`."""

import asyncio
import re
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Awaitable, Callable, Sequence
from getpass import getpass

from pydantic import ValidationError
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession

from app.auth import refresh
from app.auth.models import User
from app.auth.passwords import Passwords
from app.auth.users import UserIn, UsernameTaken, create_user, find_user
from app.config import Settings, get_settings
from app.core.settings import describe
from app.db.sessions import connect, create_sessions

Command = Callable[[AsyncSession, Settings, Namespace], Awaitable[str]]
"""Does its work in a transaction, and returns what to print after the commit."""

# A scope-token. Source: RFC 6749, section 3.3
_is_scope = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+").fullmatch

MAX_SCOPES = 1000


class CommandError(Exception):
    """A command cannot do its work. The text says why."""


async def create(session: AsyncSession, settings: Settings, arguments: Namespace) -> str:
    data: UserIn = arguments.data
    scopes = _join(arguments.scopes)
    try:
        await create_user(session, Passwords(settings), data, scopes)
    except UsernameTaken:
        raise CommandError(f"a user with the name {data.username} already exists") from None
    return f"Created {data.username}, scopes: {scopes or 'none'}."


async def set_password(session: AsyncSession, settings: Settings, arguments: Namespace) -> str:
    user = await _find(session, arguments)
    user.password_hash = await Passwords(settings).hash(arguments.data.password)
    await refresh.revoke_all(session, user.id)
    return f"Set the password of {user.username} and ended all logins. {_until(settings)}"


async def set_scopes(session: AsyncSession, settings: Settings, arguments: Namespace) -> str:
    user = await _find(session, arguments)
    user.scopes = _join(arguments.scopes)
    return f"Changed {user.username}, scopes: {user.scopes or 'none'}. {_until(settings)}"


async def deactivate(session: AsyncSession, settings: Settings, arguments: Namespace) -> str:
    user = await _find(session, arguments)
    user.is_active = False
    await refresh.revoke_all(session, user.id)
    return f"Deactivated {user.username} and ended all logins. {_until(settings)}"


async def activate(session: AsyncSession, settings: Settings, arguments: Namespace) -> str:
    user = await _find(session, arguments)
    user.is_active = True
    return f"Activated {user.username}."


async def log_out(session: AsyncSession, settings: Settings, arguments: Namespace) -> str:
    user = await _find(session, arguments)
    await refresh.revoke_all(session, user.id)
    return f"Ended all logins of {user.username}. {_until(settings)}"


async def list_users(session: AsyncSession, settings: Settings, arguments: Namespace) -> str:
    lines = ["NAME\tSTATUS\tCREATED\tSCOPES"]
    for user in await session.scalars(select(User).order_by(User.username)):
        status = "active" if user.is_active else "inactive"
        lines.append(f"{user.username}\t{status}\t{user.created_at:%Y-%m-%d}\t{user.scopes}")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command of a command line. Return the exit status."""
    arguments = create_parser().parse_args(argv)
    settings = get_settings()
    try:
        if arguments.needs_password:
            # Before the transaction, which would lock SQLite until the password is typed.
            arguments.data = _read_user(arguments.username)
        # On Windows, only this loop works with every database driver.
        with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
            print(runner.run(_run(arguments.run, settings, arguments)))
    except CommandError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except SQLAlchemyError as error:
        cause = str(getattr(error, "orig", None) or error).partition("\n")[0]
        hint = "check DATABASE_URL, and apply the migrations with alembic upgrade heads"
        print(f"error: cannot use the database: {cause}; {hint}", file=sys.stderr)
        return 1
    except (EOFError, KeyboardInterrupt):
        print("\nerror: interrupted", file=sys.stderr)
        return 1
    return 0


def create_parser() -> ArgumentParser:
    """Return the parser of the command line."""
    parser = ArgumentParser(
        prog="python -m app.users",
        description="Manage the users of the database in DATABASE_URL. Commands that set a"
        " password prompt for it, or read it from standard input if that is not a terminal."
        " Ending logins revokes refresh tokens. Access tokens cannot be revoked: also those of a"
        " deactivated user remain valid until they expire, for up to JWT_ACCESS_LIFETIME seconds.",
        epilog="Exits with status 1 if a command fails, 2 if it is used wrongly, and 3 if the"
        " settings are invalid.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, run: Command, text: str, password: bool = False) -> ArgumentParser:
        command = commands.add_parser(name, help=text, description=text[:1].upper() + text[1:])
        command.set_defaults(run=run, needs_password=password)
        if run is not list_users:
            command.add_argument("username", metavar="NAME", help="the user name")
        return command

    # `--scopes` takes all that follows, so the name has to be first.
    create_command = add("create", create, "create a user", password=True)
    create_command.usage = f"{create_command.prog} NAME [--scopes SCOPE ...]"
    create_command.add_argument("--scopes", nargs="+", default=[], metavar="SCOPE")
    add("set-password", set_password, "set a password and end all logins", password=True)
    scopes_command = add("set-scopes", set_scopes, "replace all scopes of a user")
    scopes_command.add_argument("scopes", nargs="*", metavar="SCOPE", help="none removes all")
    add("deactivate", deactivate, "forbid a user to log in and end all logins")
    add("activate", activate, "allow a deactivated user to log in again")
    add("log-out", log_out, "end all logins of a user")
    add("list", list_users, "list all users, separated by tabs")
    return parser


async def _run(run: Command, settings: Settings, arguments: Namespace) -> str:
    async with connect(settings) as engine, create_sessions(engine).begin() as session:
        return await run(session, settings, arguments)


async def _find(session: AsyncSession, arguments: Namespace) -> User:
    user = await find_user(session, arguments.username.lower())
    if user is None:
        raise CommandError(f"there is no user with the name {arguments.username}")
    return user


def _read_user(username: str) -> UserIn:
    try:
        return UserIn(username=username, password=_read_password())
    except ValidationError as error:
        raise CommandError("; ".join(describe(error))) from None


def _read_password() -> str:
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    password = getpass("Password: ")
    if getpass("Repeat the password: ") != password:
        raise CommandError("the passwords differ")
    return password


def _join(scopes: Sequence[str]) -> str:
    for scope in scopes:
        if not _is_scope(scope):
            raise CommandError(f"not a scope: {scope!r}; use printable ASCII without spaces")
    joined = " ".join(dict.fromkeys(scopes))
    if len(joined) > MAX_SCOPES:
        raise CommandError(f"the scopes have more than {MAX_SCOPES} characters")
    return joined


def _until(settings: Settings) -> str:
    lifetime = settings.jwt_access_lifetime
    return f"Access tokens remain valid until they expire, for up to {lifetime} seconds."


if __name__ == "__main__":
    sys.exit(main())
