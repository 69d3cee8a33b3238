"""docs/configuration.md lists every setting as it is declared, and every environment variable that is read."""

from __future__ import annotations

import re

from gemma_cli.core.setting import Setting
from gemma_cli.core.setting_kinds import Switch
from gemma_cli.core.settings import SETTINGS
from tests.cli.helpers.command import ROOT

PAGE = ROOT / "docs" / "configuration.md"
HEAD = "| key | option | variable | takes | default | in a chat | of |\n| --- | --- | --- | --- | --- | --- | --- |\n"


def row(setting: Setting) -> str:
    slash = f"{setting.slash} {setting.name}" if setting.slash == "/set" else setting.slash
    cells = (
        f"`{setting.name}`",
        ", ".join(f"`{flag}`" for flag in setting.options),
        f"`{setting.variable}`" if setting.variable else "",
        setting.kind.takes if isinstance(setting.kind, Switch) else f"`{setting.kind.metavar}`",
        setting.default_text,
        f"`{slash}`" if slash else "",
        ", ".join(setting.commands),
    )
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def test_the_table_is_that_of_the_declared_settings() -> None:
    table = HEAD + "\n".join(map(row, SETTINGS.values())) + "\n"
    text = PAGE.read_text(encoding="utf-8")
    shown = re.search(r"<!-- settings: .* -->\n(.*?)<!-- /settings -->", text, re.DOTALL)
    assert shown
    assert shown[1] == table, f"docs/configuration.md should have\n{table}"


def test_every_variable_of_ours_is_on_the_page() -> None:
    text = PAGE.read_text(encoding="utf-8")
    read = {
        name
        for path in (ROOT / "gemma_cli").rglob("*.py")
        for name in re.findall(r"\bGEMMA_[A-Z]+(?:_[A-Z]+)*\b(?!_H)", path.read_text(encoding="utf-8"))
    }
    assert {"GEMMA_DEBUG", "GEMMA_KERNELS", "GEMMA_MODEL"} <= read
    assert not {name for name in read if f"`{name}`" not in text}
