"""Formats with text among data: translated as prose they would be destroyed, so they are refused."""

from __future__ import annotations

import json
import re

_SUFFIXES = {
    "JSON": ".json .jsonl .ndjson .arb",
    "CSV": ".csv",
    "TSV": ".tsv",
    "PO": ".po .pot",
    "Java properties": ".properties",
    "XLIFF": ".xlf .xliff",
    "HTML": ".html .htm .xhtml",
    "XML": ".xml",
    "YAML": ".yaml .yml",
}
_REMEDIES = {
    "JSON": "extract the text with: jq -r '.. | strings'",
    "PO": "extract the text with: po2txt (translate-toolkit)",
    "HTML": "convert it to Markdown with: pandoc -t gfm",
}
_EXTRACT = "save its text as .txt or .md"
_BEGINNINGS = (
    ("XLIFF", re.compile(r"(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)?<xliff[\s>]", re.DOTALL)),
    ("HTML", re.compile(r"(?:<\?xml[^>]*>\s*)?(?:<!doctype\s+html|<html[\s>])", re.IGNORECASE)),
    ("XML", re.compile(r"<\?xml\s")),
    ("PO", re.compile(r"(?:#[^\n]*\n|\s)*msg(?:ctxt|id)\s+\"[^\n]*\"\s*$", re.MULTILINE)),
)
_JSON = re.compile(r"[\[{]\s*[\"\[{}\]]")


def data_format(suffix: str, document: str) -> str | None:
    """Return the name of the data format of a document, by its suffix or by how it begins."""
    named = next((name for name, suffixes in _SUFFIXES.items() if suffix in suffixes.split()), None)
    if named or suffix in (".md", ".markdown"):
        return named
    text = document.lstrip("\ufeff \t\r\n")
    return next((name for name, begins in _BEGINNINGS if begins.match(text)), "JSON" if _is_json(text) else None)


def may_be_data(head: str) -> bool:
    """Return whether a document that begins so may be data. Its end may be needed to tell."""
    return data_format("", head) is not None or _JSON.match(head.lstrip("\ufeff \t\r\n")) is not None


def remedy(name: str) -> str:
    """Return what to do with a document in a data format."""
    return _REMEDIES.get(name, _EXTRACT)


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
