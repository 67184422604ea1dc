"""The paths of the health checks, and the path of a request as the router sees it."""

from starlette.types import Scope

LIVENESS = "/healthz"
READINESS = "/readyz"


def route_path(scope: Scope) -> str:
    """Return the path that the router matches: `path` without the mount point in `root_path`.

    Middleware must decide on this path, never on `request.url.path`, which a client can change
    with the Host header.
    Source: https://asgi.readthedocs.io/en/latest/specs/www.html#http-connection-scope
    """
    path: str = scope["path"]
    root_path: str = scope.get("root_path", "")
    if root_path and (path == root_path or path.startswith(root_path + "/")):
        return path[len(root_path) :]
    return path
