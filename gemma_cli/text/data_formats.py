"""Data with text in it: what kind it is, and what is done about a kind that cannot be translated.

Translated as prose, data would be destroyed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass

from gemma_cli.text.passages import Passage
from gemma_cli.text.values.html_page import html_attributes, html_text
from gemma_cli.text.values.json_fields import json_values
from gemma_cli.text.values.po import po
from gemma_cli.text.values.tables import table
from gemma_cli.text.values.xliff import xliff

Split = Callable[[str], tuple[list[Passage], list[str]]]
"""Splits a document into passages, with remarks about what is not translated. Raises MalformedError."""

FIELDS = "JSON CSV TSV"
"""Kinds of which the values to translate have to be named."""

_SUFFIXES = {
    "JSON": ".json .jsonl .ndjson .arb",
    "CSV": ".csv",
    "TSV": ".tsv .tab",
    "PO": ".po .pot",
    "XLIFF": ".xlf .xliff",
    "HTML": ".html .htm .xhtml",
    "Java properties": ".properties",
    "Apple strings": ".strings .stringsdict .xcstrings",
    "Qt Linguist": ".qm",
    "Android or .NET resources": ".resx .resw",
    "YAML": ".yaml .yml",
    "TOML": ".toml",
    "an INI file": ".ini .cfg .conf",
    "XML": ".xml .svg .plist .xsl .docbook .dita",
    "RTF": ".rtf",
    "LaTeX": ".tex .latex",
    "reStructuredText": ".rst",
    "AsciiDoc": ".adoc .asciidoc",
    "Org": ".org",
    "a notebook": ".ipynb",
}
_TO_PO = "convert the file to PO and back with translate-toolkit: {}"
_REMEDIES = {
    "Java properties": _TO_PO.format("prop2po, po2prop"),
    "Apple strings": _TO_PO.format("prop2po --personality=strings, po2prop"),
    "Qt Linguist": "convert the file to PO and back with Qt's lconvert",
    "Android or .NET resources": _TO_PO.format("resx2po, po2resx"),
    "YAML": _TO_PO.format("yaml2po, po2yaml"),
    "an INI file": _TO_PO.format("ini2po, po2ini"),
    "a notebook": "convert the file to Markdown with: jupyter nbconvert --to markdown",
    **dict.fromkeys(
        ("RTF", "LaTeX", "reStructuredText", "AsciiDoc", "Org"), "convert the file to Markdown with: pandoc -t gfm"
    ),
}
_EXTRACT = "save the text as a .txt or .md file"
_PROLOG = r"(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)*"
_BEGINNINGS = (
    ("XLIFF", re.compile(rf"{_PROLOG}(?:<!DOCTYPE\s[^>]*>\s*)?<(?:\w+:)?xliff[\s>]", re.DOTALL)),
    ("HTML", re.compile(rf"{_PROLOG}(?:<!doctype\s+html|<html[\s>])", re.DOTALL | re.IGNORECASE)),
    ("Qt Linguist", re.compile(rf"{_PROLOG}(?:<!DOCTYPE\s+TS>\s*)<TS[\s>]", re.DOTALL)),
    ("XML", re.compile(r"<\?xml\s")),
    ("RTF", re.compile(r"\{\\rtf[0-9]")),
    ("PO", re.compile(r"(?:#[^\n]*\n|\s)*msg(?:ctxt|id)\s+\"[^\n]*\"\s*$", re.MULTILINE)),
)
_JSON = re.compile(r"[\[{]\s*[\"\[{}\]]")


@dataclass(frozen=True)
class DataFormat:
    """A kind of data. split None: it cannot be translated. second: splits the result of the first once more.

    references: whether a character that the encoding lacks can be written as a number.
    """

    name: str
    split: Split | None = None
    second: Split | None = None
    references: bool = False

    @property
    def remedy(self) -> str:
        """Return the remedy for a document that cannot be translated."""
        return _REMEDIES.get(self.name, _EXTRACT)


def data_format(suffix: str, document: str, fields: tuple[str, ...] = ()) -> DataFormat | None:
    """Return the format of a document that is data, by its suffix or by how it begins.

    fields: the values to translate. A text of no known kind is a table if there are some.
    """
    name = _kind(suffix, document)
    if name is None and fields and suffix in ("", ".txt"):
        name = "CSV"
    match name:
        case None:
            return None
        case "PO":
            return DataFormat(name, po)
        case "XLIFF":
            return DataFormat(name, xliff, references=True)
        case "HTML":
            return DataFormat(name, html_attributes, html_text, references=True)
        case "JSON":
            return DataFormat(name, lambda text: json_values(text, fields))
        case "CSV" | "TSV":
            return DataFormat(name, lambda text: table(text, fields, tabs=name == "TSV"))
    return DataFormat(name)


def may_be_data(head: str) -> bool:
    """Return whether a document that begins so may be data. Its end may be needed to tell."""
    return _kind("", head) is not None or _JSON.match(head.lstrip("\ufeff \t\r\n")) is not None


def _kind(suffix: str, document: str) -> str | None:
    named = next((name for name, suffixes in _SUFFIXES.items() if suffix in suffixes.split()), None)
    text = document.lstrip("\ufeff \t\r\n")
    found = next((name for name, begins in _BEGINNINGS if begins.match(text)), None)
    if named == "XML" and found:
        return found
    if named or suffix in (".md", ".markdown"):
        return named
    return found or ("JSON" if _is_json(text) else None)


def _is_json(text: str) -> bool:
    """Return whether a text is a JSON object or array, or its first line is an object."""
    if not _JSON.match(text):
        return False
    for part in (text, text.split("\n", 1)[0]):
        try:
            return isinstance(json.loads(part), dict | list)
        except (ValueError, RecursionError):
            continue
    return False
