from collections.abc import Callable
from typing import Annotated, Any

import pytest
from fastapi import FastAPI, Security, WebSocket
from fastapi.testclient import TestClient

from app.auth import dependencies
from app.auth.dependencies import CurrentUser, current_user
from app.auth.tokens import TokenUser
from app.config import Settings
from tests.auth.support import make_token
from tests.support import reject_websocket

Writer = Annotated[TokenUser, Security(current_user, scopes=["items:read", "items:write"])]


@pytest.fixture
def client(app: FastAPI, make_client: Callable[..., TestClient]) -> TestClient:
    @app.get("/read")
    async def read(user: CurrentUser) -> str:
        return user.identity

    @app.get("/write")
    async def write(user: Writer) -> str:
        return user.identity

    @app.websocket("/socket")
    async def serve(websocket: WebSocket, user: Writer) -> None:
        await websocket.accept()
        await websocket.send_text(user.identity)
        await websocket.close()

    return make_client(app)


def test_a_token_identifies_the_user(client: TestClient) -> None:
    assert client.get("/read").json() == "user-of-the-tests"


def test_a_user_is_required(client: TestClient) -> None:
    del client.headers["Authorization"]
    response = client.get("/read")
    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"] == "Bearer"
    assert response.json()["error"]["type"] == "unauthorized"


@pytest.mark.parametrize("scope", ["", "items:read", "items:writer items:read", "items:write"])
def test_a_token_that_does_not_allow_it_is_forbidden(
    scope: str,
    client: TestClient,
    make_settings: Callable[..., Settings],
    log: Callable[[], list[dict[str, Any]]],
) -> None:
    response = client.get("/write", headers={"Authorization": f"Bearer {make_token(scope=scope)}"})
    assert response.status_code == 403
    assert response.json()["error"]["type"] == "forbidden"
    expected = 'Bearer error="insufficient_scope", scope="items:read items:write"'
    assert response.headers["WWW-Authenticate"] == expected
    messages = [record["message"] for record in log() if record["logger"] == dependencies.__name__]
    hint = make_settings().scope_hint()
    assert messages == [f"refused a token: it does not allow items:read items:write{hint}"]


def test_a_token_that_allows_it_is_welcome(
    client: TestClient,
) -> None:
    token = make_token(scope="items:write other items:read")
    headers = {"Authorization": f"Bearer {token}"}
    assert client.get("/write", headers=headers).status_code == 200
    with client.websocket_connect("/socket", headers=headers) as socket:
        assert socket.receive_text() == "user-of-the-tests"


def test_a_socket_is_rejected_like_a_request(
    client: TestClient,
) -> None:
    assert reject_websocket(client, "/socket").status_code == 403
    del client.headers["Authorization"]
    response = reject_websocket(client, "/socket")
    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"] == "Bearer"


def test_openapi_says_which_routes_ask_for_what(client: TestClient) -> None:
    schema: dict[str, Any] = client.get("/openapi.json").json()
    assert "Bearer" in schema["components"]["securitySchemes"]
    [security] = schema["paths"]["/write"]["get"]["security"]
    assert security["Bearer"] == ["items:read", "items:write"]
    [security] = schema["paths"]["/read"]["get"]["security"]
    assert security["Bearer"] == []
    assert "Bearer" not in str(schema["paths"]["/healthz"])
