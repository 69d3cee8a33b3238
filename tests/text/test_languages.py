import pytest

from gemma_cli.core.errors import UsageError
from gemma_cli.text.languages import LANGUAGES, language, language_or_auto


@pytest.mark.parametrize("entry", LANGUAGES, ids=lambda entry: entry.code)
def test_every_language_is_found_by_name_own_name_and_code(entry):
    for key in (entry.name, entry.native, entry.code, entry.name.upper(), f"  {entry.code.lower()} "):
        assert language(key) == entry


def test_names_and_codes_are_unambiguous():
    keys = [key.casefold() for entry in LANGUAGES for key in {entry.name, entry.native, entry.code}]
    assert len(keys) == len(set(keys))


@pytest.mark.parametrize(
    ("key", "code"),
    [("de-AT", "de"), ("en_US", "en"), ("pt_BR", "pt-BR"), ("zh-Hant", "zh-TW"), ("iw", "he"), ("Farsi", "fa")],
)
def test_regions_and_older_names(key, code):
    assert language(key).code == code


@pytest.mark.parametrize(
    ("typo", "meant"), [("Germann", "German"), ("frensh", "French"), ("Brasilian Portuguese", "Brazilian")]
)
def test_a_typo_is_answered_with_what_was_meant(typo, meant):
    with pytest.raises(UsageError, match=rf"{typo!r}.*did you mean.*{meant}"):
        language(typo)


@pytest.mark.parametrize("nonsense", ["", "xx", "-", "_", "klingon", "x" * 5000])
def test_nonsense_says_what_to_give(nonsense):
    with pytest.raises(UsageError, match="unknown language"):
        language(nonsense)


def test_auto_is_no_language():
    assert language_or_auto(None) is language_or_auto(" Auto ") is None
    assert language_or_auto("de") == "German"
    with pytest.raises(UsageError):
        language_or_auto("automatic")
