import asyncio

from app.auth.secret_keys import SecretKeys, key_id
from app.auth.tokens import TokenSettings

SECRET, OTHER = "secret-of-the-tests-with-32-bytes", "another-secret-of-the-tests-32-by"


def test_a_secret_is_found_by_its_id_or_else_all_are_tried() -> None:
    values = {"jwt_secret_key": SECRET, "jwt_previous_secret_keys": OTHER}
    names = {"jwt_issuer": "issuer", "jwt_audience": "audience"}
    keys = SecretKeys(TokenSettings.model_validate(values | names))

    def find(kid: str | None) -> list[str]:
        return [key.material.decode() for key in asyncio.run(keys.find(kid, "HS256"))]

    assert find(key_id(OTHER.encode())) == [OTHER]
    assert find(None) == find("other") == [SECRET, OTHER]


def test_an_id_does_not_reveal_its_secret() -> None:
    assert key_id(b"a") != key_id(b"b")
    assert len(key_id(b"a" * 100)) == 16
