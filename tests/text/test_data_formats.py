import pytest

from gemma_cli.core.errors import InputError
from gemma_cli.text.data_formats import data_format
from gemma_cli.text.documents import split

DOCUMENTS = {
    "JSON": '{\n "title": "Der Hund"\n}\n',
    "PO": '# Kommentar\n\nmsgid "dog"\nmsgstr "Hund"\n',
    "XLIFF": '<?xml version="1.0"?>\n<xliff version="1.2"></xliff>',
    "HTML": "\ufeff<!DOCTYPE html>\n<p>Der Hund</p>",
    "XML": '<?xml version="1.0"?><a>Der Hund</a>',
}
OTHERS = ".properties .strings .resx .xml .yaml .toml .ini .rtf .tex .rst .adoc .org .ipynb"


@pytest.mark.parametrize("name", DOCUMENTS)
def test_data_is_recognised_by_its_content(name):
    assert data_format("", DOCUMENTS[name]).name == name
    assert data_format(".txt", DOCUMENTS[name]).name == name


@pytest.mark.parametrize("suffix", OTHERS.split())
def test_data_that_cannot_be_translated_is_refused_by_its_suffix(suffix):
    with pytest.raises(InputError, match=r"gemma cannot translate .*; "):
        split("a", "Der Hund, die Katze", suffix)


@pytest.mark.parametrize(
    "text", ["[Musik] Guten Morgen.", "{Name} ist da.", "<3 dich", "msgid heißt so", '["', "[1] Fußnote"]
)
def test_prose_is_no_data(text):
    assert data_format(".txt", text) is None


def test_json_lines_are_json():
    assert data_format("", '{"a": "Hund"}\n{"a": "Katze"}\n').name == "JSON"


def test_fields_make_a_table_of_a_text_without_a_format():
    assert data_format("", "a;b\n1;2\n", ("b",)).name == "CSV"
    assert data_format("", '{"b": "x"}', ("b",)).name == "JSON"
