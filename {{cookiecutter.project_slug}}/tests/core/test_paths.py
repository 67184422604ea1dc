import pytest
from starlette.responses import PlainTextResponse
from starlette.routing import Route, Router

from app.core.paths import route_path
from tests.support import call_app


@pytest.mark.parametrize(
    ("root_path", "path", "expected"),
    [
        ("", "/items", "/items"),
        ("", "//items", "//items"),
        ("/api", "/api/items", "/items"),
        ("/api", "/api/", "/"),
        ("/api", "/api//items", "//items"),
        ("/api", "/api/api/items", "/api/items"),
        ("/api", "/apiary", "/apiary"),
        ("/api", "/items", "/items"),
        ("/api", "//api/items", "//api/items"),
    ],
)
def test_the_path_is_the_one_that_the_router_matches(
    root_path: str,
    path: str,
    expected: str,
) -> None:
    assert route_path({"root_path": root_path, "path": path}) == expected
    router = Router([Route(expected, PlainTextResponse("found"))])
    assert call_app(router, root_path=root_path, path=path)[0]["status"] == 200


def test_the_mount_point_itself_and_a_scope_without_one() -> None:
    assert route_path({"root_path": "/api", "path": "/api"}) == ""
    assert route_path({"path": "/items"}) == "/items"
