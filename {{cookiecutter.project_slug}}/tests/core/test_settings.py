import runpy
import subprocess
import sys
from pathlib import Path
from secrets import token_hex, token_urlsafe

import pytest
from pydantic import BaseModel, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from app.core.settings import CoreSettings, SecretList, StringList, describe, is_weak


class Lists(BaseSettings):
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
        ("[::1]", ["[::1]"]),
        (" [::1], [2001:DB8::1],a", ["[::1]", "[2001:DB8::1]", "a"]),
        ("a,[::ffff:127.0.0.1]", ["a", "[::ffff:127.0.0.1]"]),
        ('["[::1]", "a"]', ["[::1]", "a"]),
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
    assert "a" not in str(lists.secrets)
    assert "::1" not in str(lists.secrets)


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
def test_the_description_of_an_error_names_the_variable_without_the_value(
    model: type[BaseModel], name: str, value: object
) -> None:
    with pytest.raises(ValidationError) as caught:
        model.model_validate({name: value})
    (line,) = describe(caught.value)
    assert line.startswith(name.upper())
    assert "hunter2" not in line


def test_every_error_is_described_in_one_line() -> None:
    with pytest.raises(ValidationError) as caught:
        CoreSettings.model_validate({"debug": "?", "log_level": "?", "api_prefix": "v1"})
    assert list(describe(caught.value)) == [
        "DEBUG: Input should be a valid boolean, unable to interpret input",
        "LOG_LEVEL: Input should be 'DEBUG', 'INFO', 'WARNING', 'ERROR' or 'CRITICAL'",
        "API_PREFIX: must start with a slash and not end with one, such as /api/v1",
    ]


@pytest.mark.parametrize(
    "secret",
    [
        "change-me",
        "please-change-me-before-you-go-live",
        "CHANGE-ME-0123456789",
        "a" * 32,
        "ab" * 16,
        "change-me-" * 4,
        ("hunter2!" * 5)[:37],
        "fifteen letters" * 3,
        "a" * 31 + "b",
        "aaaaaaaabbbbbbbbccccccccdddddddd",
    ],
)
def test_a_secret_that_repeats_is_weak(secret: str) -> None:
    assert is_weak(secret)


def test_a_random_secret_is_not_weak() -> None:
    for _ in range(100):
        for make in (token_hex, token_urlsafe):
            assert not any(is_weak(make(size)) for size in (8, 16, 32, 64))
    assert not any(is_weak(secret) for secret in ("test-key", "0123456789abcdef" * 2, "key-1"))


def test_a_broken_list_is_described_by_how_to_write_one() -> None:
    with pytest.raises(ValidationError) as caught:
        Lists.model_validate({"names": '["a"'})
    expected = 'NAMES: must be JSON, such as ["a", "b"], or comma-separated: a,b'
    assert list(describe(caught.value)) == [expected]


class Plain(CoreSettings, BaseSettings):
    model_config = SettingsConfigDict(enable_decoding=False)

    names: list[str] = []
    ports: set[int] = set()
    pairs: tuple[str, ...] | None = None
    limits: dict[str, int] = {}
    text: str = ""


@pytest.mark.parametrize("text", ["8000,9000", " 8000 , 9000", '["8000", "9000"]'])
def test_a_plain_list_setting_is_json_or_separated_by_commas(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NAMES", text)
    monkeypatch.setenv("PORTS", text)
    monkeypatch.setenv("PAIRS", text)
    monkeypatch.setenv("LIMITS", '{"a": 1}')
    monkeypatch.setenv("TEXT", "a,b")
    settings = Plain()
    assert settings.names == ["8000", "9000"]
    assert settings.ports == {8000, 9000}
    assert settings.pairs == ("8000", "9000")
    assert settings.limits == {"a": 1}
    assert settings.text == "a,b"


def test_a_python_list_is_not_split() -> None:
    assert Lists.model_validate({"names": ["a,b"]}).names == ["a,b"]


def test_a_log_level_may_be_in_lower_case() -> None:
    assert CoreSettings.model_validate({"log_level": "warning"}).log_level == "WARNING"


def test_the_core_settings_load_no_web_framework() -> None:
    program = "import sys, app.core.settings; print(*sys.modules)"
    root = Path(__file__).parents[2]
    loaded = subprocess.check_output([sys.executable, "-c", program], cwd=root, text=True).split()
    assert {"pydantic", "app.core.settings"} <= set(loaded)
    assert not {"fastapi", "starlette"} & set(loaded)


def test_the_file_is_that_of_the_project_or_of_a_variable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    source = Path(__file__).parents[2] / "app/core/settings.py"
    assert runpy.run_path(str(source))["ENV_FILE"] == tmp_path / ".env"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ENV_FILE", "")
    assert runpy.run_path(str(source))["ENV_FILE"] == Path(__file__).parents[2] / ".env"
    monkeypatch.delenv("ENV_FILE")
    assert runpy.run_path(str(source))["ENV_FILE"] == Path(__file__).parents[2] / ".env"
