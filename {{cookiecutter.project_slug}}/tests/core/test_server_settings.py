from collections.abc import Callable

import pytest
from pydantic import ValidationError

from app.config import Settings


@pytest.mark.parametrize(
    ("value", "names"),
    [
        ("unix", ["unix"]),
        ("10.0.0.5, 10.1.0.0/16, ::1", ["10.0.0.5", "10.1.0.0/16", "::1"]),
        ("10.0.0.5,*", ["*"]),
    ],
)
def test_proxies_are_addresses_and_networks(
    value: str, names: list[str], make_settings: Callable[..., Settings]
) -> None:
    assert make_settings(forwarded_allow_ips=value).forwarded_allow_ips == names


def test_only_this_machine_is_trusted_by_default(make_settings: Callable[..., Settings]) -> None:
    assert make_settings().forwarded_allow_ips == ["127.0.0.1", "::1", "unix"]


@pytest.mark.parametrize("value", ["proxy.example.com", "10.0.0.1/8", "10.0.0.1 10.0.0.2"])
def test_what_could_never_match_is_rejected(
    value: str, make_settings: Callable[..., Settings]
) -> None:
    with pytest.raises(ValidationError, match="must be addresses or networks"):
        make_settings(forwarded_allow_ips=value)
