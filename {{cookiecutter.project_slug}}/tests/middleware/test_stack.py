from fastapi import FastAPI


def test_a_request_meets_the_layers_in_their_order(app: FastAPI, layers: list[str]) -> None:
    names = []
    layer: object = app.build_middleware_stack()
    while layer := getattr(layer, "app", None):
        names.append(type(layer).__name__)
    assert names[names.index(layers[0]) : names.index("ExceptionMiddleware")] == layers
