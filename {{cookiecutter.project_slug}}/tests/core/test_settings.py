import pytest
from pydantic import ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from app.core.settings import CoreSettings, SecretList, StringList, describe


class Lists(BaseSettings):
    model_config = SettingsConfigDict(hide_input_in_errors=True)

    names: StringList = []
    secrets: SecretList = []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a", ["a"]),
        ("a,b", ["a", "b"]),
        (" a , b,, ", ["a", "b"]),
        (",", []),
        ('["a", "b,c"]', ["a", "b,c"]),
        (' ["a"]', ["a"]),
        ("[]", []),
        ('{"a": 1}', ['{"a": 1}']),
    ],
)
def test_a_list_is_json_or_separated_by_commas(
    text: str, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NAMES", text)
    monkeypatch.setenv("SECRETS", text)
    lists = Lists()
    assert lists.names == expected
    assert [secret.get_secret_value() for secret in lists.secrets] == expected


def test_secrets_are_not_shown() -> None:
    assert "hunter2" not in repr(Lists.model_validate({"secrets": ["hunter2"]}))


@pytest.mark.parametrize("text", ["[hunter2", '["hunter2"', '[["hunter2"]]', '[{"hunter2": 1}]'])
@pytest.mark.parametrize("name", ["names", "secrets"])
def test_a_wrong_list_is_refused(name: str, text: str) -> None:
    with pytest.raises(ValidationError) as refusal:
        Lists.model_validate({name: text})
    (line,) = describe(refusal.value)
    assert line.startswith(name.upper())
    assert "hunter2" not in line
    assert "hunter2" not in str(refusal.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("debug", "hunter2"),
        ("docs_enabled", "hunter2"),
        ("log_level", "hunter2"),
        ("log_level", 10),
        ("api_prefix", "hunter2"),
        ("api_prefix", "/hunter2/"),
        ("api_prefix", "/"),
    ],
)
def test_a_wrong_value_is_refused_by_the_name_of_its_variable(name: str, value: object) -> None:
    with pytest.raises(ValidationError) as refusal:
        CoreSettings.model_validate({name: value})
    (line,) = describe(refusal.value)
    assert line.startswith(f"{name.upper()}: ")
    assert "hunter2" not in line


def test_every_problem_has_a_line() -> None:
    with pytest.raises(ValidationError) as refusal:
        CoreSettings.model_validate({"debug": "?", "log_level": "?", "api_prefix": "v1"})
    assert list(describe(refusal.value)) == [
        "DEBUG: Input should be a valid boolean, unable to interpret input",
        "LOG_LEVEL: Input should be 'DEBUG', 'INFO', 'WARNING', 'ERROR' or 'CRITICAL'",
        "API_PREFIX: must start with a slash and not end with one, such as /api/v1",
    ]


def test_a_log_level_may_be_in_lower_case() -> None:
    assert CoreSettings.model_validate({"log_level": "warning"}).log_level == "WARNING"
