"""The languages that `transcribe` and `translate` know by name.

Gemma 4's model card promises "35+ languages" and lists none. The table is the union of the two lists Google has
published for the family: the 38 languages of Gemini 1.5, whose tokenizer Gemma shares, and the targets of WMT24++
(google/wmt24pp), on which the card reports translation. Codes are ISO 639-1, for Filipino ISO 639-2; regional
variants, where WMT24++ has them, are BCP 47.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from gemma_cli.core.errors import UsageError


@dataclass(frozen=True)
class Language:
    """name: as it stands in a prompt, English. code: ISO 639 or BCP 47. native: its own name for itself."""

    name: str
    code: str
    native: str


LANGUAGES: tuple[Language, ...] = tuple(
    Language(*row)
    for row in (
        ("Arabic", "ar", "العربية"),
        ("Bengali", "bn", "বাংলা"),
        ("Bulgarian", "bg", "Български"),
        ("Catalan", "ca", "Català"),
        ("Chinese", "zh", "中文"),
        ("Simplified Chinese", "zh-CN", "简体中文"),
        ("Traditional Chinese", "zh-TW", "繁體中文"),
        ("Croatian", "hr", "Hrvatski"),
        ("Czech", "cs", "Čeština"),
        ("Danish", "da", "Dansk"),
        ("Dutch", "nl", "Nederlands"),
        ("English", "en", "English"),
        ("Estonian", "et", "Eesti"),
        ("Filipino", "fil", "Filipino"),
        ("Finnish", "fi", "Suomi"),
        ("French", "fr", "Français"),
        ("Canadian French", "fr-CA", "Français canadien"),
        ("German", "de", "Deutsch"),
        ("Greek", "el", "Ελληνικά"),
        ("Gujarati", "gu", "ગુજરાતી"),
        ("Hebrew", "he", "עברית"),
        ("Hindi", "hi", "हिन्दी"),
        ("Hungarian", "hu", "Magyar"),
        ("Icelandic", "is", "Íslenska"),
        ("Indonesian", "id", "Bahasa Indonesia"),
        ("Italian", "it", "Italiano"),
        ("Japanese", "ja", "日本語"),
        ("Kannada", "kn", "ಕನ್ನಡ"),
        ("Korean", "ko", "한국어"),
        ("Latvian", "lv", "Latviešu"),
        ("Lithuanian", "lt", "Lietuvių"),
        ("Malayalam", "ml", "മലയാളം"),
        ("Marathi", "mr", "मराठी"),
        ("Norwegian", "no", "Norsk"),
        ("Persian", "fa", "فارسی"),
        ("Polish", "pl", "Polski"),
        ("Portuguese", "pt", "Português"),
        ("Brazilian Portuguese", "pt-BR", "Português brasileiro"),
        ("European Portuguese", "pt-PT", "Português europeu"),
        ("Punjabi", "pa", "ਪੰਜਾਬੀ"),
        ("Romanian", "ro", "Română"),
        ("Russian", "ru", "Русский"),
        ("Serbian", "sr", "Српски"),
        ("Slovak", "sk", "Slovenčina"),
        ("Slovenian", "sl", "Slovenščina"),
        ("Spanish", "es", "Español"),
        ("Mexican Spanish", "es-MX", "Español mexicano"),
        ("Swahili", "sw", "Kiswahili"),
        ("Swedish", "sv", "Svenska"),
        ("Tamil", "ta", "தமிழ்"),
        ("Telugu", "te", "తెలుగు"),
        ("Thai", "th", "ไทย"),
        ("Turkish", "tr", "Türkçe"),
        ("Ukrainian", "uk", "Українська"),
        ("Urdu", "ur", "اردو"),
        ("Vietnamese", "vi", "Tiếng Việt"),
        ("Zulu", "zu", "isiZulu"),
    )
)

AUTO = "auto"
"""The value on the command line that lets the model detect the language."""

_OTHER_NAMES = {
    "farsi": "fa",
    "in": "id",  # withdrawn ISO codes that Google's APIs still use
    "iw": "he",
    "mandarin": "zh",
    "nb": "no",
    "tagalog": "fil",
    "tl": "fil",
    "zh-hans": "zh-CN",
    "zh-hant": "zh-TW",
}

_THREE_LETTERS = (
    "ara ar, ben bn, bul bg, cat ca, chi zh, zho zh, hrv hr, cze cs, ces cs, dan da, dut nl, nld nl, eng en, est et, "
    "fin fi, fre fr, fra fr, ger de, deu de, gre el, ell el, guj gu, heb he, hin hi, hun hu, ice is, isl is, ind id, "
    "ita it, jpn ja, kan kn, kor ko, lav lv, lit lt, mal ml, mar mr, nor no, nob no, per fa, fas fa, pol pl, por pt, "
    "pan pa, rum ro, ron ro, rus ru, srp sr, slo sk, slk sk, slv sl, spa es, swa sw, swe sv, tam ta, tel te, tgl fil, "
    "tha th, tur tr, ukr uk, urd ur, vie vi, zul zu"
)
"""ISO 639-2 codes, as films name the languages of their sound tracks, both of those that have two."""

_OTHER_NAMES |= dict(pair.split() for pair in _THREE_LETTERS.split(", "))

_BY_CODE = {entry.code: entry for entry in LANGUAGES}
_BY_NAME = {key.casefold(): entry for entry in LANGUAGES for key in (entry.name, entry.native, entry.code)} | {
    other: _BY_CODE[code] for other, code in _OTHER_NAMES.items()
}


def language(name_or_code: str) -> Language:
    """The language of that English name, own name or code, in any case; a region we do not list is dropped (de-AT).

    Raises UsageError with the nearest names.
    """
    key = name_or_code.strip().casefold()
    code = key.replace("_", "-")
    found = _BY_NAME.get(key) or _BY_NAME.get(code)
    if not found and "-" in code:
        found = _BY_CODE.get(code.split("-")[0])
    if found:
        return found
    near = [_BY_NAME[match].name for match in difflib.get_close_matches(key, _BY_NAME, n=3, cutoff=0.7)]
    hint = (
        f"did you mean {' or '.join(dict.fromkeys(near))}?"
        if near
        else "give a name or a code, for example German or de"
    )
    raise UsageError(f"unknown language {name_or_code!r}: {hint}")


def language_or_auto(name_or_code: str | None) -> str | None:
    """The English name of that language; None for None and for AUTO. Raises UsageError."""
    if name_or_code is None or name_or_code.strip().casefold() == AUTO:
        return None
    return language(name_or_code).name
