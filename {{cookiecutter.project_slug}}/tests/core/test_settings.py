import pytest
from pydantic import BaseModel, ValidationError

from app.core.settings import CoreSettings, SecretList, StringList, describe


class Lists(BaseModel):
    names: StringList = []
    secrets: SecretList = []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a", ["a"]),
        (" a , b,, ", ["a", "b"]),
        (",", []),
        ('["a", "b,c"]', ["a", "b,c"]),
        (' ["a"]', ["a"]),
        ("[]", []),
        ('{"a": 1}', ['{"a": 1}']),
        (["a,b"], ["a,b"]),
    ],
)
def test_a_list_is_json_or_separated_by_commas(text: object, expected: list[str]) -> None:
    lists = Lists.model_validate({"names": text, "secrets": text})
    assert lists.names == expected
    assert [secret.get_secret_value() for secret in lists.secrets] == expected
    assert "a" not in str(lists.secrets)


@pytest.mark.parametrize(
    ("model", "name", "value"),
    [
        *((Lists, "names", text) for text in ("[hunter2", '["hunter2"', '[["hunter2"]]', "[1]")),
        *((Lists, "secrets", text) for text in ("[hunter2", '["hunter2"', '[["hunter2"]]', "[1]")),
        (CoreSettings, "debug", "hunter2"),
        (CoreSettings, "docs_enabled", "hunter2"),
        (CoreSettings, "log_level", "hunter2"),
        (CoreSettings, "log_level", 10),
        (CoreSettings, "api_prefix", "hunter2"),
        (CoreSettings, "api_prefix", "/hunter2/"),
        (CoreSettings, "api_prefix", "/"),
    ],
)
def test_a_wrong_value_is_described_by_its_variable_alone(
    model: type[BaseModel], name: str, value: object
) -> None:
    with pytest.raises(ValidationError) as refusal:
        model.model_validate({name: value})
    (line,) = describe(refusal.value)
    assert line.startswith(name.upper())
    assert "hunter2" not in line


def test_every_problem_has_a_line_that_says_what_to_do() -> None:
    with pytest.raises(ValidationError) as refusal:
        CoreSettings.model_validate({"debug": "?", "log_level": "?", "api_prefix": "v1"})
    assert list(describe(refusal.value)) == [
        "DEBUG: Input should be a valid boolean, unable to interpret input",
        "LOG_LEVEL: Input should be 'DEBUG', 'INFO', 'WARNING', 'ERROR' or 'CRITICAL'",
        "API_PREFIX: must start with a slash and not end with one, such as /api/v1",
    ]


def test_a_log_level_may_be_in_lower_case() -> None:
    assert CoreSettings.model_validate({"log_level": "warning"}).log_level == "WARNING"
