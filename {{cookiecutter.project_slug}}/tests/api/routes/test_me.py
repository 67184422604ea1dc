from fastapi.testclient import TestClient

from tests.auth.support import make_token


def test_the_user_is_the_one_of_the_token(client: TestClient) -> None:
    me = {"id": "user-of-the-tests", "username": "user-of-the-tests", "scopes": []}
    assert client.get("/users/me").json() == me
    token = make_token(preferred_username="ada", scope="a b")
    response = client.get("/users/me", headers={"Authorization": f"Bearer {token}"})
    assert response.json() == {"id": "user-of-the-tests", "username": "ada", "scopes": ["a", "b"]}


def test_a_user_is_required(client: TestClient) -> None:
    del client.headers["Authorization"]
    assert client.get("/users/me").status_code == 401
