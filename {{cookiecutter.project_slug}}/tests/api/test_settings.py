from collections.abc import Callable
from pathlib import Path

from fastapi import FastAPI, WebSocket
from fastapi.testclient import TestClient

from app.api.settings import AppSettings


def test_routes_get_the_settings_of_the_application(
    make_app: Callable[..., FastAPI],
    make_client: Callable[..., TestClient],
    environ: Callable[..., None],
    tmp_path: Path,
) -> None:
    (tmp_path / ".env").write_text("MAX_BODY_SIZE=1\n")
    environ(MAX_BODY_SIZE="2")
    app = make_app(max_body_size=3)

    @app.get("/limit")
    async def read_limit(settings: AppSettings) -> int:
        return settings.max_body_size

    @app.websocket("/limit")
    async def send_limit(websocket: WebSocket, settings: AppSettings) -> None:
        await websocket.accept()
        await websocket.send_json(settings.max_body_size)
        await websocket.close()

    client = make_client(app)
    assert client.get("/limit").json() == 3
    with client.websocket_connect("/limit") as socket:
        assert socket.receive_json() == 3
