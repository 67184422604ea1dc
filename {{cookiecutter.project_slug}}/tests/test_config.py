from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError

from app.config import Settings, get_settings
from app.core.settings import describe

EXAMPLE = Path(__file__).parents[1] / ".env.example"


def test_variables_take_precedence_over_the_file(
    environ: Callable[..., None], tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text("LOG_LEVEL=ERROR\nMAX_BODY_SIZE=1\nUNKNOWN=1\n")
    environ(LOG_LEVEL="CRITICAL")
    assert (get_settings().log_level, get_settings().max_body_size) == ("CRITICAL", 1)
    assert get_settings() is get_settings()


def test_an_empty_variable_counts_as_unset(
    environ: Callable[..., None], make_settings: Callable[..., Settings]
) -> None:
    expected = make_settings()
    unset = Settings.model_fields.keys() - expected.model_fields_set
    environ(**{name.upper(): "" for name in unset})
    assert get_settings() == expected


def test_invalid_settings_end_the_process_with_one_line_each(
    environ: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    environ(DEBUG="hunter2", LOG_LEVEL="hunter2", MAX_BODY_SIZE="-1")
    with pytest.raises(SystemExit) as end:
        get_settings()
    assert end.value.code == 3
    output = capsys.readouterr()
    variables = [line.partition(":")[0] for line in output.err.splitlines()]
    assert variables == ["Invalid settings", "  DEBUG", "  LOG_LEVEL", "  MAX_BODY_SIZE"]
    assert "hunter2" not in output.err + output.out


def test_an_exception_does_not_contain_the_value(make_settings: Callable[..., Settings]) -> None:
    with pytest.raises(ValidationError) as caught:
        make_settings(debug="hunter2")
    assert "hunter2" not in str(caught.value)


def test_the_example_file_is_valid_and_has_every_setting() -> None:
    assert Settings(_env_file=EXAMPLE).debug
    lines = EXAMPLE.read_text().splitlines()
    names = {line.partition("=")[0] for line in lines if not line.startswith("#")}
    assert names >= {name.upper() for name in Settings.model_fields}


@pytest.mark.parametrize("name", Settings.model_fields)
@pytest.mark.parametrize(
    "value",
    [
        "database://app:hun@ter2:hunter3@host/name",
        "database://app:hun@ter2/hunter3@host/name",
        "cache://app:hun@ter2:hunter3@host:port/0",
        "cache://app:hunter2@host/hunter3",
        "https://app:hun@[ter2/hunter3",
        "https://app:hunter2@host:hunter3",
        "https://app:hunter2\u2100hunter3@host",
        "sqlite:hunter2",
        '["hunter2',
        "hunter2",
        "{hunter2}",
    ],
)
def test_no_message_quotes_a_value(
    make_settings: Callable[..., Settings], name: str, value: str
) -> None:
    try:
        make_settings(**{name: value})
    except ValidationError as error:
        lines = "\n".join(describe(error))
        assert lines
        assert not any(part in lines for part in ("hunter", "hun@", "ter2", "ter3"))
