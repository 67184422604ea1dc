import asyncio
import gc
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Annotated, Any

import anyio
import pytest
from fastapi import BackgroundTasks, Depends, FastAPI, HTTPException, Request, Response
from fastapi.responses import StreamingResponse
from fastapi.sse import EventSourceResponse
from fastapi.testclient import TestClient
from sqlalchemy import event, select, text
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.dependencies import DbSession, DbSessions, get_session
from app.config import Settings
from app.db.models import Item
from app.factory import create_app
from app.middleware.transaction import ENDED, TransactionMiddleware

pytestmark = pytest.mark.usefixtures("database")

NAMES = "SELECT name FROM items ORDER BY id"
# A constraint that is checked at COMMIT, and no earlier.
DEFERRED = [
    "DROP TABLE IF EXISTS child",
    "DROP TABLE IF EXISTS parent",
    "CREATE TABLE parent (id INTEGER PRIMARY KEY)",
    "CREATE TABLE child (id INTEGER REFERENCES parent DEFERRABLE INITIALLY DEFERRED)",
]

# Long enough to be cancelled.
SLOW = """
    WITH RECURSIVE counter (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM counter WHERE i < 200000)
    SELECT count(*) FROM counter
"""
Sql = Callable[..., list[Any]]


def item(name: str = "written") -> Item:
    return Item(name=name, description="")


@pytest.fixture
def app(make_settings: Callable[..., Settings]) -> FastAPI:
    return create_app(make_settings(database_pool_size=5))


@pytest.fixture
def client(app: FastAPI, make_client: Callable[..., TestClient]) -> TestClient:
    return make_client(app, raises=False)


@pytest.fixture
def warnings(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    return lambda: [
        r.getMessage() for r in caplog.records if r.name == "app.middleware.transaction"
    ]


def connections(app: FastAPI) -> int:
    checked_out: int = app.state.engine.pool.checkedout()
    return checked_out


@pytest.mark.parametrize("status", [200, 201, 204, 304, 399, 400, 404, 503])
def test_status_decides(app: FastAPI, client: TestClient, sql: Sql, status: int) -> None:
    @app.post("/write")
    async def write(session: DbSession) -> Response:
        session.add(item())
        await session.flush()
        return Response(status_code=status)

    assert client.post("/write").status_code == status
    assert sql(NAMES) == ([("written",)] if status < 400 else [])
    assert connections(app) == 0


@pytest.mark.parametrize("error", [RuntimeError("secret"), HTTPException(404)])
def test_exception_rolls_back(
    app: FastAPI, lenient_client: TestClient, sql: Sql, error: Exception
) -> None:
    @app.post("/write")
    async def write(session: DbSession) -> None:
        session.add(item())
        await session.flush()
        raise error

    assert lenient_client.post("/write").status_code == getattr(error, "status_code", 500)
    assert sql(NAMES) == []
    assert connections(app) == 0


def test_commits_before_the_response_starts(
    app: FastAPI, make_client: Callable[..., TestClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    commit = AsyncSession.commit

    async def record_commit(session: AsyncSession) -> None:
        await commit(session)
        order.append("commit")

    async def recorder(scope: Scope, receive: Receive, send: Send) -> None:
        async def record(message: Message) -> None:
            order.append(message["type"])
            await send(message)

        await app(scope, receive, record if scope["type"] == "http" else send)

    monkeypatch.setattr(AsyncSession, "commit", record_commit)
    assert make_client(recorder).post("/items", json={"name": "x"}).status_code == 201
    assert order[:2] == ["commit", "http.response.start"]


def test_commit_that_fails_is_a_500(app: FastAPI, lenient_client: TestClient, sql: Sql) -> None:
    @app.post("/orphan")
    async def write(session: DbSession) -> dict[str, str]:
        session.add(item())
        await session.execute(text("INSERT INTO child VALUES (1)"))
        return {"status": "stored"}

    # Handlers that might respond instead of the commit that failed.
    @app.exception_handler(SQLAlchemyError)
    @app.exception_handler(RuntimeError)
    async def answer(request: Request, exc: Exception) -> Response:
        return Response("handled")

    sql(*DEFERRED)
    # More often than the pool has connections: none of them is spoilt.
    for _ in range(3):
        response = lenient_client.post("/orphan")
        assert response.status_code == 500
        assert response.json()["error"]["type"] == "server_error"
        assert sql(NAMES) == []
        assert connections(app) == 0
    assert lenient_client.post("/items", json={"name": "next"}).status_code == 201
    assert sql(NAMES) == [("next",)]
    assert sql("SELECT * FROM child") == []
    sql(*DEFERRED[:2])


def test_flush_at_commit_that_fails_is_a_500(
    app: FastAPI, lenient_client: TestClient, sql: Sql
) -> None:
    @app.post("/write")
    async def write(session: DbSession) -> None:
        session.add_all([item(), item()])

    assert lenient_client.post("/write").status_code == 500
    assert sql(NAMES) == []
    assert connections(app) == 0


def test_error_that_was_caught_is_no_success(app: FastAPI, client: TestClient, sql: Sql) -> None:
    @app.post("/write")
    async def write(session: DbSession) -> None:
        session.add(item())
        await session.flush()
        with suppress(SQLAlchemyError):
            await session.execute(text("SELECT * FROM nowhere"))

    # Where one statement that fails spoils the transaction, nothing is stored; else all of it.
    stored = client.post("/write").status_code == 200
    assert sql(NAMES) == [("written",)] * stored
    assert connections(app) == 0


def test_error_in_a_savepoint_can_be_caught(app: FastAPI, client: TestClient, sql: Sql) -> None:
    @app.post("/write")
    async def write(session: DbSession) -> None:
        session.add(item())
        await session.flush()
        try:
            async with session.begin_nested():
                await session.execute(text("SELECT * FROM nowhere"))
        except SQLAlchemyError:
            pass

    assert client.post("/write").status_code == 200
    assert sql(NAMES) == [("written",)]


def test_no_database_no_session(app: FastAPI, lenient_client: TestClient) -> None:
    def fail(**options: Any) -> None:
        raise AssertionError("a session was made")

    app.state.sessions = fail
    assert lenient_client.get("/").status_code == 200
    assert lenient_client.get("/nowhere").status_code == 404
    assert lenient_client.get("/items").status_code == 500
    assert app.state.engine.pool.checkedin() <= 1


def test_session_that_is_not_used_opens_no_connection(app: FastAPI, client: TestClient) -> None:
    @app.get("/unused")
    async def read(session: DbSession) -> bool:
        assert not session.in_transaction()
        return connections(app) == 0

    assert client.get("/unused").json() is True


def test_one_session_a_request(app: FastAPI, client: TestClient) -> None:
    seen: list[object] = []

    @app.get("/same")
    async def read(request: Request, session: DbSession) -> bool:
        seen.append(session)
        return session is request.state.db is request.state["db"]

    assert client.get("/same").json() is True
    assert client.get("/same").json() is True
    assert seen[0] is not seen[1]


def test_dependency_can_be_overridden(app: FastAPI, client: TestClient) -> None:
    @app.get("/session")
    async def read(session: DbSession) -> str:
        return str(session)

    async def override() -> str:
        return "mine"

    app.dependency_overrides[get_session] = override
    assert client.get("/session").json() == "mine"


def test_sessions_of_their_own(app: FastAPI, client: TestClient, sql: Sql) -> None:
    async def work(sessions: DbSessions, name: str) -> None:
        async with sessions.begin() as session:
            session.add(item(name))

    @app.post("/work")
    async def later(tasks: BackgroundTasks, sessions: DbSessions) -> None:
        tasks.add_task(work, sessions, "background")

    @app.websocket("/socket")
    async def socket(websocket: Any, sessions: DbSessions) -> None: ...

    assert client.post("/work").status_code == 200
    assert sql(NAMES) == [("background",)]


def test_state_is_shared_with_the_layers_outside() -> None:
    state = {"outer": 1}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        request.state.inner = request.state.outer + 1
        assert not hasattr(request.state, "nothing")
        await Response()(scope, receive, send)

    asyncio.run(call(TransactionMiddleware(app), state=state))
    assert state == {"outer": 1, "inner": 2}


def test_other_scopes_pass() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert "state" not in scope

    asyncio.run(call(TransactionMiddleware(app), type="websocket"))


async def call(app: ASGIApp, path: str = "/", send: Send | None = None, /, **changes: Any) -> int:
    """Send a request without a client, and return the status of the response."""
    statuses: list[int] = []
    scope = {
        "type": "http",
        "http_version": "1.1",
        "scheme": "http",
        "method": "POST",
        "path": path,
        "query_string": b"",
        "headers": [],
    }

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def record(message: Message) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    await app(scope | changes, receive, send or record)
    return statuses[0] if statuses else 0


@pytest.fixture
def bare(app: FastAPI) -> FastAPI:
    """An application with no other layer, and a route that writes."""
    app.user_middleware = [Middleware(TransactionMiddleware)]
    # A machine that is busy is slow, not wrong.
    patience = {"database_pool_timeout": 60.0}
    app.state.settings = app.state.settings.model_copy(update=patience)

    @app.post("/write/{name}")
    async def write(name: str, session: DbSession) -> Response:
        session.add(item(name))
        await session.flush()
        return Response(status_code=404 if name == "unstored" else 200)

    return app


@asynccontextmanager
async def running(app: FastAPI) -> AsyncIterator[None]:
    """Run an application in the loop of the test. In the end, no connection is missing."""
    async with asyncio.timeout(10), app.router.lifespan_context(app):
        yield
        gc.collect()
        assert connections(app) == 0


@pytest.mark.parametrize("consequence", [None, RuntimeError("response already started")])
def test_no_handler_responds_after_a_commit_that_failed(
    app: FastAPI, sql: Sql, consequence: Exception | None
) -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def stubborn(scope: Scope, receive: Receive, send: Send) -> None:
        session = Request(scope).state.db
        session.add_all([item(), item()])
        for status in (200, 500):
            with pytest.raises(IntegrityError):
                await Response(status_code=status)(scope, receive, send)
        if consequence:
            raise consequence

    async def run() -> None:
        async with running(app):
            with pytest.raises(IntegrityError):
                await call(TransactionMiddleware(stubborn), "/", send, app=app)

    asyncio.run(run())
    assert sent == []
    assert sql(NAMES) == []


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("in_query", [True, False])
def test_cancelled(bare: FastAPI, sql: Sql, native: bool, in_query: bool) -> None:
    inside = asyncio.Event()
    made: list[object] = []

    @bare.post("/slow")
    async def slow(session: DbSession) -> None:
        session.add(item())
        await session.flush()
        inside.set()
        if in_query:
            await session.execute(text(SLOW))
        else:
            await anyio.sleep_forever()

    async def run() -> None:
        async with running(bare):
            event.listen(bare.state.engine.sync_engine, "connect", lambda *c: made.append(c))
            # More often than the pool has connections.
            for _ in range(3):
                inside.clear()
                if native:
                    task = asyncio.create_task(call(bare, "/slow"))
                    await inside.wait()
                    task.cancel()
                    with pytest.raises(asyncio.CancelledError):
                        await task
                else:
                    async with anyio.create_task_group() as group:
                        group.start_soon(call, bare, "/slow")
                        await inside.wait()
                        group.cancel_scope.cancel()
            assert await call(bare, "/write/next") == 200

    asyncio.run(run())
    # A query that was given up takes its connection with it; nothing else does.
    assert in_query or len(made) <= 1
    assert sql(NAMES) == [("next",)]


def test_client_that_is_gone(bare: FastAPI, sql: Sql) -> None:
    async def send(message: Message) -> None:
        raise OSError("the client is gone")

    async def run() -> None:
        async with running(bare):
            for name in ("1", "2", "3"):
                with pytest.raises(OSError, match="the client is gone"):
                    await call(bare, f"/write/{name}", send)

    asyncio.run(run())
    assert sql(NAMES) == [("1",), ("2",), ("3",)]


def test_more_requests_than_connections(bare: FastAPI, sql: Sql) -> None:
    @bare.get("/read")
    async def read(session: DbSession) -> None:
        await session.scalars(select(Item))

    async def request(number: int) -> int:
        path = [f"/write/{number}", "/read", "/write/unstored", "/nowhere"][number % 4]
        return await call(bare, path, method="GET" if path == "/read" else "POST")

    async def run() -> list[int]:
        async with running(bare):
            return await asyncio.gather(*map(request, range(100)))

    assert Counter(asyncio.run(run())) == {200: 50, 404: 50}
    assert sql("SELECT count(*) FROM items") == [(25,)]


def test_reading_before_writing_at_once(bare: FastAPI, sql: Sql) -> None:
    @bare.post("/count")
    async def count(session: DbSession) -> None:
        found = (await session.scalars(select(Item).with_for_update())).one()
        found.description += "."

    async def run() -> list[int]:
        async with running(bare):
            await call(bare, "/write/one")
            return await asyncio.gather(*(call(bare, "/count") for _ in range(20)))

    assert asyncio.run(run()) == [200] * 20
    assert sql("SELECT description FROM items") == [("." * 20,)]


async def add(session: AsyncSession) -> None:
    session.add(item("late"))


async def flush(session: AsyncSession) -> None:
    await session.flush()


async def read(session: AsyncSession) -> None:
    await session.scalars(select(Item))


async def run_text(session: AsyncSession) -> None:
    await session.execute(text("DELETE FROM items"))


async def commit(session: AsyncSession) -> None:
    await session.commit()


@pytest.mark.parametrize("touch", [True, False])
@pytest.mark.parametrize("status", [200, 400])
@pytest.mark.parametrize("use", [add, flush, read, run_text, commit])
def test_session_ends_when_the_response_begins(
    app: FastAPI,
    client: TestClient,
    sql: Sql,
    use: Callable[[AsyncSession], Awaitable[None]],
    status: int,
    touch: bool,
) -> None:
    refused: list[str] = []

    async def background(request: Request) -> None:
        with pytest.raises(RuntimeError, match="takes DbSessions") as error:
            await use(request.state.db)
        refused.append(str(error.value))

    @app.post("/late")
    async def late(request: Request, tasks: BackgroundTasks, response: Response) -> None:
        if touch:
            await request.state.db.scalars(select(Item))
        tasks.add_task(background, request)
        response.status_code = status

    client.post("/items", json={"name": "first"})
    assert client.post("/late").status_code == status
    assert refused == [ENDED]
    assert sql(NAMES) == [("first",)]
    assert connections(app) == 0


def test_object_that_is_changed_after_the_response_began_is_logged(
    app: FastAPI, client: TestClient, sql: Sql, warnings: Callable[[], list[str]]
) -> None:
    async def background(found: Item) -> None:
        found.name = "late"

    @app.post("/late")
    async def late(session: DbSession, tasks: BackgroundTasks) -> None:
        tasks.add_task(background, (await session.scalars(select(Item))).one())

    client.post("/items", json={"name": "first"})
    assert client.post("/late").status_code == 200
    assert sql(NAMES) == [("first",)]
    assert warnings() == ["POST /late changed objects after its response began; that is not stored"]


async def names_of(session: AsyncSession) -> AsyncIterator[str]:
    async for name in await session.stream_scalars(select(Item.name)):
        yield name


async def get_names(session: DbSession) -> AsyncIterator[str]:
    return names_of(session)


async def count_items(session: DbSession) -> int:
    return len((await session.scalars(select(Item))).all())


STREAMS: list[dict[str, Any]] = [{"response_class": EventSourceResponse}, {}]


@pytest.mark.parametrize("options", STREAMS)
def test_stream_is_rejected_the_session_of_the_request(
    make_app: Callable[..., FastAPI], make_client: Callable[..., TestClient], options: Any
) -> None:
    app = make_app(debug=True)

    @app.get("/stream", **options)
    async def stream(session: DbSession) -> AsyncIterator[str]:
        async for name in names_of(session):
            yield name

    @app.get("/generator", **options)
    def generator(session: DbSession) -> Iterator[str]:
        yield str(session)

    client = make_client(app, raises=False)
    for path in ("/stream", "/generator"):
        response = client.get(path)
        assert response.status_code == 500
        assert (
            response.json()["error"]["message"] == f"RuntimeError: {path[1:]} is a stream: {ENDED}"
        )


@pytest.mark.parametrize("options", STREAMS)
def test_stream_that_gets_the_session_another_way_fails(
    app: FastAPI, client: TestClient, options: Any
) -> None:
    refused: list[str] = []

    @app.get("/stream", **options)
    async def stream(names: Annotated[Any, Depends(get_names)]) -> AsyncIterator[str]:
        with pytest.raises(RuntimeError, match="takes DbSessions") as error:
            async for name in names:
                yield name
        refused.append(str(error.value))

    client.post("/items", json={"name": "first"})
    assert client.get("/stream").text == ""
    assert refused == [ENDED]
    assert connections(app) == 0


@pytest.mark.parametrize("options", STREAMS)
def test_dependency_of_a_stream_has_the_session(
    app: FastAPI, client: TestClient, options: Any
) -> None:
    @app.get("/stream", **options)
    async def stream(count: Annotated[int, Depends(count_items)]) -> AsyncIterator[int]:
        yield count

    client.post("/items", json={"name": "first"})
    assert client.get("/stream").text.strip() in ("data: 1", "1")


@pytest.mark.parametrize("options", STREAMS)
def test_stream_that_has_sessions_of_its_own(
    app: FastAPI, client: TestClient, options: Any
) -> None:
    """However many streams there are, none holds a connection, or keeps a writer out."""

    @app.get("/stream", **options)
    async def stream(sessions: DbSessions) -> AsyncIterator[str]:
        last = 0
        while last < 3:
            async with sessions.reading() as session:
                page = (await session.scalars(select(Item).where(Item.id > last).limit(1))).all()
            assert connections(app) == 0
            for found in page:
                last = found.id
                yield found.name
                async with sessions.begin() as session:
                    session.add(item(f"after {found.name}"))

    client.post("/items", json={"name": "a"})
    lines = client.get("/stream").text.split("\n")
    names = [line.removeprefix("data: ") for line in lines if line]
    assert names == ['"a"', '"after a"', '"after after a"']
    assert connections(app) == 0


def test_stream_that_reads_keeps_no_writer_out(app: FastAPI, client: TestClient, sql: Sql) -> None:
    @app.get("/stream")
    async def stream(sessions: DbSessions) -> AsyncIterator[str]:
        async with sessions.reading() as session:
            async for found in await session.stream_scalars(select(Item)):
                async with sessions.begin() as other:
                    other.add(item(f"beside {found.name}"))
                yield found.name

    client.post("/items", json={"name": "a"})
    assert client.get("/stream").text == '"a"\n'
    assert sql(NAMES) == [("a",), ("beside a",)]


def test_cursor_that_outlives_the_session_fails(app: FastAPI, client: TestClient) -> None:
    refused: list[str] = []

    @app.get("/stream")
    async def stream(session: DbSession) -> StreamingResponse:
        async def names() -> AsyncIterator[str]:
            with pytest.raises(RuntimeError, match="takes DbSessions") as error:
                async for name in names_of(session):
                    yield name
            refused.append(str(error.value))

        return StreamingResponse(names())

    client.post("/items", json={"name": "first"})
    assert client.get("/stream").text == ""
    assert refused == [ENDED]
    assert connections(app) == 0


def test_full_pool_is_a_503(
    make_client: Callable[..., TestClient], make_settings: Any, warnings: Callable[[], list[str]]
) -> None:
    app = create_app(make_settings(database_pool_size=1, database_pool_timeout=0.01))

    @app.get("/full")
    async def full(request: Request, session: DbSession) -> None:
        # The one connection there is is taken, here by the request itself.
        async with AsyncSession(request.app.state.engine) as other:
            await other.execute(text("SELECT 1"))
            await session.execute(text("SELECT 1"))

    client = make_client(app, raises=False)
    response = client.get("/full")
    assert response.status_code == 503
    assert response.headers["Retry-After"] == "1"
    assert response.json()["error"]["type"] == "service_unavailable"
    assert connections(app) == 0
    assert len(warnings()) == 1
    # An outage has been logged once, and makes requests wait in vain for connections.
    app.state.sessions.outage.begin(OSError("refused"))
    assert client.get("/full").status_code == 503
    assert len(warnings()) == 1
    assert client.get("/items").status_code == 200


def test_connection_lost_before_the_rollback(
    app: FastAPI,
    lenient_client: TestClient,
    warnings: Callable[[], list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def fail(session: AsyncSession) -> None:
        raise SQLAlchemyError("gone")

    @app.get("/fails")
    async def fails(session: DbSession) -> None:
        await session.execute(text("SELECT 1"))
        raise RuntimeError("secret")

    with monkeypatch.context() as patch:
        patch.setattr(AsyncSession, "rollback", fail)
        assert lenient_client.get("/fails").status_code == 500
    assert warnings() == ["the connection was lost before the rollback"]
    assert connections(app) == 0
