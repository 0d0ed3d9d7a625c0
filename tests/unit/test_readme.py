"""The README's table of settings is the code's."""

import re
from pathlib import Path

from pydantic import BaseModel, SecretStr

from pman_core import registry
from pman_core.settings import Settings

README = (Path(__file__).parents[2] / "README.md").read_text()
ROWS = dict(re.findall(r"^\| `([A-Z0-9_]+)` \| *([^|]*?) *\|", README.split("<!-- settings")[1], re.MULTILINE))


def in_code() -> dict[str, str]:
    models: list[type[BaseModel]] = [Settings, *(registry.load_class(name).Settings for name in registry.names())]
    return {
        name.upper(): written(field.default) if field.default_factory is None else "the host's name"
        for model in models
        for name, field in model.model_fields.items()
    }


def written(default: object) -> str:
    if isinstance(default, SecretStr):
        default = default.get_secret_value()
    if default in (None, (), ""):
        return ""
    if isinstance(default, bool):
        return "`yes`" if default else "`no`"
    return f"`{default}`"


def test_every_setting_is_in_the_readme_with_its_default_and_nothing_else_is() -> None:
    assert in_code() == ROWS
