from collections.abc import Callable

from fastapi import FastAPI

from app.core.config import Settings
from app.middleware import stack


def test_a_request_meets_the_layers_in_their_order(app: FastAPI, layers: list[str]) -> None:
    names = []
    layer: object = app.build_middleware_stack()
    while layer := getattr(layer, "app", None):
        names.append(type(layer).__name__)
    assert names[names.index(layers[0]) :][: len(layers)] == layers


def test_no_layer_is_left_out(make_settings: Callable[..., Settings], layers: list[str]) -> None:
    names = [getattr(layer.cls, "__name__", "") for layer in stack(make_settings())]
    assert names == layers
