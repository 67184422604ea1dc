import pytest
from starlette.authentication import BaseUser, SimpleUser, UnauthenticatedUser
from starlette.requests import Request

from app.tasks.owner import find_owner


class User(SimpleUser):
    @property
    def identity(self) -> str:
        return f"id-of-{self.username}"


@pytest.mark.parametrize(
    ("user", "owner"), [(User("ada"), "id-of-ada"), (UnauthenticatedUser(), ""), (None, "")]
)
def test_the_owner_of_a_task_is_its_user(user: BaseUser | None, owner: str) -> None:
    assert find_owner(Request({"type": "http", "user": user})) == owner
    assert find_owner(Request({"type": "http"})) == ""
