"""The stack that tutorials teach, for comparison. It has the same features.

Logging, API keys, transactions and errors are subclasses of `BaseHTTPMiddleware`; CORS, GZip and
trusted hosts are those of Starlette. The code follows the tutorials, including their bugs, except
that log records are JSON, so that both stacks write the same, and nothing is printed.
"""

import json
import logging
import time

from fastapi import FastAPI, Request, Response
from fastapi.middleware.cors import CORSMiddleware
from fastapi.middleware.gzip import GZipMiddleware
from fastapi.middleware.trustedhost import TrustedHostMiddleware
from fastapi.responses import JSONResponse
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.types import ASGIApp

logger = logging.getLogger("tutorial")
engine = create_async_engine("sqlite+aiosqlite:///:memory:")
open_session = async_sessionmaker(engine, class_=AsyncSession)


class RequestLoggingMiddleware(BaseHTTPMiddleware):
    """Log each request and each response."""

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        started = time.time()
        info = {
            "request_id": request.headers.get("X-Request-ID", ""),
            "method": request.method,
            "url": str(request.url),
            "client": request.client.host if request.client else "",
            "user_agent": request.headers.get("User-Agent", ""),
        }
        logger.info(json.dumps({"message": f"Request: {request.method} {request.url.path}"} | info))
        response = await call_next(request)
        duration = time.time() - started
        response.headers["X-Process-Time"] = str(duration)
        info |= {"status": response.status_code, "duration": duration}
        message = f"Response: {response.status_code} {request.method} {request.url.path}"
        logger.info(json.dumps({"message": message} | info))
        return response


class APIKeyMiddleware(BaseHTTPMiddleware):
    """Require an API key."""

    def __init__(self, app: ASGIApp, key: str, public_paths: list[str]) -> None:
        super().__init__(app)
        self.key = key
        self.public_paths = public_paths

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        if any(request.url.path.startswith(path) for path in self.public_paths):
            return await call_next(request)
        if request.headers.get("X-API-Key") != self.key:
            error = {"code": 401, "message": "Invalid API key", "type": "unauthorized"}
            return JSONResponse({"success": False, "error": error}, 401)
        return await call_next(request)


class TransactionMiddleware(BaseHTTPMiddleware):
    """Open a session for each request."""

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        async with open_session() as session:
            request.state.db = session
            try:
                response = await call_next(request)
                if 200 <= response.status_code < 400:
                    await session.commit()
                else:
                    await session.rollback()
                return response
            except Exception:
                await session.rollback()
                raise


class ExceptionMiddleware(BaseHTTPMiddleware):
    """Respond with a 500 to unhandled exceptions."""

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        try:
            return await call_next(request)
        except Exception:
            logger.exception("unhandled")
            error = {"code": 500, "message": "Internal server error", "type": "server_error"}
            return JSONResponse({"success": False, "error": error}, 500)


def add_middleware(app: FastAPI, *, origin: str, host: str, key: str) -> None:
    """Add the stack in the order of the tutorials."""
    app.add_middleware(
        CORSMiddleware,
        allow_origins=[origin],
        allow_credentials=True,
        allow_methods=["*"],
        allow_headers=["*"],
    )
    app.add_middleware(GZipMiddleware, minimum_size=1000)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=[host])
    app.add_middleware(RequestLoggingMiddleware)
    app.add_middleware(APIKeyMiddleware, key=key, public_paths=["/docs", "/redoc", "/openapi.json"])
    app.add_middleware(TransactionMiddleware)
    app.add_middleware(ExceptionMiddleware)
