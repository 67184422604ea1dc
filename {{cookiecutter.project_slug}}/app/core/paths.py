"""The paths that layers decide on."""

from starlette.types import Scope

LIVENESS = "/healthz"
READINESS = "/readyz"


def route_path(scope: Scope) -> str:
    """Return the path that the router matches: `path` less the mount point in `root_path`.

    Decide on this, never on `request.url.path`, which the Host header can change.
    Source: https://asgi.readthedocs.io/en/latest/specs/www.html#http-connection-scope
    """
    path: str = scope["path"]
    root_path: str = scope.get("root_path", "")
    if root_path and (path == root_path or path.startswith(root_path + "/")):
        return path[len(root_path) :]
    return path
