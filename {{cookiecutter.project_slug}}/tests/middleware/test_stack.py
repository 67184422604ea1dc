import gc
import weakref
from collections.abc import Callable, Iterator

import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.types import Message


@pytest.fixture
def no_collector() -> Iterator[None]:
    """Leave garbage where it is."""
    gc.disable()
    yield
    gc.enable()


def test_a_request_meets_the_layers_in_their_order(app: FastAPI, layers: list[str]) -> None:
    names = []
    layer: object = app.build_middleware_stack()
    while layer := getattr(layer, "app", None):
        names.append(type(layer).__name__)
    assert names[names.index(layers[0]) : names.index("ExceptionMiddleware")] == layers


@pytest.mark.usefixtures("no_collector")
def test_a_request_is_gone_when_it_is_answered(
    app: FastAPI, exchange: Callable[..., list[Message]]
) -> None:
    class Witness:
        pass

    # BaseHTTPMiddleware leaves a task to the collector.
    layers = [layer for layer in app.user_middleware if "BaseHTTP" not in str(layer.cls)]
    served = Starlette(routes=[Route("/", PlainTextResponse("served"))], middleware=layers)
    witness = Witness()
    is_there = weakref.ref(witness)
    start, _ = exchange(served, witness=witness)
    del witness
    assert start["status"] == 200
    assert not is_there()
