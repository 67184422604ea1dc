from collections.abc import Callable

import pytest
from fastapi.testclient import TestClient


def test_openapi_has_the_path_of_the_login(make_client: Callable[..., TestClient]) -> None:
    for prefix in ["", "/api/v1"]:
        schema = make_client(api_prefix=prefix).get("/openapi.json").json()
        flow = schema["components"]["securitySchemes"]["Bearer"]["flows"]["password"]
        assert flow == {"tokenUrl": f"{prefix}/token".lstrip("/"), "scopes": {}}
        assert f"{prefix}/token" in schema["paths"]


@pytest.mark.usefixtures("database")
def test_clients_without_an_address_count_as_one(
    make_client: Callable[..., TestClient],
) -> None:
    client = make_client(login_limit_address="1/minute")
    transport = client._transport
    transport.client = None  # type: ignore[attr-defined]
    statuses = [
        client.post("/token", data={"username": "a", "password": "b"}).status_code for _ in "ab"
    ]
    assert statuses == [401, 429]
