import gc
import re
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from tests.support import call_app


@pytest.fixture
def no_collector() -> Iterator[None]:
    """Turn the garbage collector off."""
    gc.disable()
    yield
    gc.enable()


def test_the_stack_has_the_order_of_the_readme(app: FastAPI) -> None:
    readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    documented = re.findall(r"^\| `([a-z_]+)` \|", readme, re.MULTILINE)
    # By their modules. Middleware that README.md does not mention may be anywhere.
    layers = [str(layer.cls.__module__).rpartition(".")[2] for layer in app.user_middleware]
    assert [layer for layer in layers if layer in documented] == documented


@pytest.mark.usefixtures("no_collector")
def test_no_reference_cycle_keeps_a_request_in_memory(app: FastAPI) -> None:
    class Witness:
        pass

    # BaseHTTPMiddleware leaves a task to the garbage collector.
    layers = [layer for layer in app.user_middleware if "BaseHTTP" not in str(layer.cls)]
    served = Starlette(routes=[Route("/", PlainTextResponse("served"))], middleware=layers)
    witness = Witness()
    is_there = weakref.ref(witness)
    start, _ = call_app(served, witness=witness)
    del witness
    assert start["status"] == 200
    assert not is_there()
