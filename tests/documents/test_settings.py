"""Each setting is described once, by its class, and the tables of the documents repeat it."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from tests.support.template import ROOT


def load() -> Any:
    """Return the module that fills the tables."""
    spec = importlib.util.spec_from_file_location("settings", ROOT / "docs" / "settings.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SETTINGS = load()


@pytest.mark.parametrize("path", SETTINGS.DOCUMENTS, ids=lambda path: path.name)
def test_the_tables_say_what_the_classes_say(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert SETTINGS.fill(text) == text, "run: uv run docs/settings.py"


def test_every_setting_is_described() -> None:
    assert SETTINGS.undescribed() == set()


def test_options_that_exclude_each_other_describe_a_setting_differently_only_by_its_default() -> (
    None
):
    for name, found in SETTINGS.settings().items():
        by_default = {setting.default: setting.meaning for setting in found if setting.default}
        assert len(by_default) == len({setting for setting in found if setting.default}), name
