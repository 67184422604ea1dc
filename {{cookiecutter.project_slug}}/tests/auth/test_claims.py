import json
from collections.abc import Callable
from typing import Any

import pytest

from app.auth.claims import freeze, is_id_token, names_audience, read_scopes
from app.auth.tokens import InvalidToken

HOSTILE = [None, True, 1, 1.5, {}, {"a": 1}, [1], ["a", 1], ["a", None], [["a"]], [{"a": "b"}]]


@pytest.mark.parametrize(
    ("claims", "scopes"),
    [
        ({"scope": "a b"}, ("a", "b")),
        ({"scope": " a  b "}, ("a", "b")),
        ({"scp": ["a", "b"]}, ("a", "b")),
        ({"scope": "a b", "scp": ["b", "c"]}, ("a", "b", "c")),
        # One role is never several.
        ({"scp": ["a b"]}, ("a b",)),
        ({"realm_access": {"roles": ["a", "b"]}}, ("a", "b")),
        ({"cognito:groups": ["a"]}, ("a",)),
        ({"https://example.com/roles": ["a"]}, ("a",)),
        ({"https://example": {"com/roles": ["a"]}}, ("a",)),
        ({"realm_access": "a"}, ()),
        ({"realm_access": ["roles"]}, ()),
        ({"realm_access": None}, ()),
        ({"realm_access": {"roles": {"a": {}}}}, ()),
        ({"scope": "", "scp": []}, ()),
        ({"other": "a"}, ()),
        ({}, ()),
        *[({"scope": value, "scp": "a"}, ("a",)) for value in HOSTILE],
        *[({"realm_access": value, "scp": "a"}, ("a",)) for value in HOSTILE],
    ],
)
def test_scopes_are_read_from_several_claims(
    claims: dict[str, Any], scopes: tuple[str, ...]
) -> None:
    names = ["scope", "scp", "realm_access.roles", "cognito:groups", "https://example.com/roles"]
    assert read_scopes(claims, names) == scopes


@pytest.mark.parametrize("value", ["api", ["api"], ["other", "api"], [None, "api"]])
def test_a_claim_names_the_audience(value: object) -> None:
    assert names_audience(value, "api")


@pytest.mark.parametrize("value", ["", "ap", "apis", [], [["api"]], {"api": 1}, 1, None, ["API"]])
def test_other_claims_do_not_name_the_audience(value: object) -> None:
    assert not names_audience(value, "api")


@pytest.mark.parametrize(
    "claims",
    [{"typ": "ID"}, {"token_use": "id"}, {"nonce": "x"}, {"at_hash": "x"}, {"c_hash": None}],
)
def test_an_id_token_is_marked(claims: dict[str, object]) -> None:
    assert is_id_token(claims)


@pytest.mark.parametrize("claims", [{}, {"typ": "Bearer", "nonce": "x"}, {"token_use": "access"}])
def test_an_access_token_is_not_an_id_token(claims: dict[str, object]) -> None:
    assert not is_id_token(claims)


def test_frozen_claims_equal_the_claims_and_cannot_be_changed() -> None:
    claims = {"a": [1, {"b": "c"}], "d": {"e": None}, "f": "\n"}
    frozen = freeze(claims)
    assert frozen["a"][1]["b"] == "c"
    assert frozen["d"]["e"] is None
    assert set(frozen) == set(claims)
    changes: list[Callable[[], object]] = [
        lambda: frozen.update(a=1),
        lambda: frozen.__setitem__("a", 1),
        lambda: frozen["d"].__setitem__("e", 1),
        lambda: frozen["a"].append(1),
        lambda: frozen["a"][1].__delitem__("b"),
    ]
    for change in changes:
        with pytest.raises((AttributeError, TypeError)):
            change()
    claims["d"] = {}
    assert "e" in frozen["d"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": "\\ud800"}', "not Unicode"),
        ('{"\\ud800": 1}', "not Unicode"),
        ('[["\\udfff"]]', "not Unicode"),
        ("[" * 40 + "]" * 40, "too deeply"),
        ('{"a":' * 40 + "1" + "}" * 40, "too deeply"),
    ],
)
def test_values_that_no_response_can_hold_are_rejected(text: str, message: str) -> None:
    with pytest.raises(InvalidToken, match=message):
        freeze(json.loads(text))
