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
_ALL = ".json .jsonl .csv .tsv .po .pot .properties .xlf .xliff .html .htm .xml .yaml"
SUFFIXES = _ALL.split(" ")


@pytest.mark.parametrize("name", DOCUMENTS)
def test_data_is_recognised_by_its_content_and_refused(name):
    assert data_format("", DOCUMENTS[name]) == name
    with pytest.raises(InputError, match=f"^a: {name}, .*; "):
        split("a", DOCUMENTS[name], ".txt")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_data_is_recognised_by_its_suffix_and_refused(suffix):
    with pytest.raises(InputError, match="translated as prose; "):
        split("a", "Der Hund, die Katze", suffix)


@pytest.mark.parametrize(
    "text", ["[Musik] Guten Morgen.", "{Name} ist da.", "<3 dich", "msgid heißt so", '["', "[1] Fußnote"]
)
def test_prose_is_no_data(text):
    assert data_format(".txt", text) is None


def test_json_lines_are_json():
    assert data_format("", '{"a": "Hund"}\n{"a": "Katze"}\n') == "JSON"
