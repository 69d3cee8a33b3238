# ruff: noqa: E501 - documents have long lines
"""What is translated in data, what is not, and what is refused."""

import polib
import pytest

from gemma_cli.core.errors import InputError
from gemma_cli.text.documents import split
from tests.text.values.test_unchanged_data import translated

PO = r"""
msgid ""
msgstr "Plural-Forms: nplurals=3; plural=(n%10==1 ? 0 : n>1 ? 1 : 2);\n"

msgctxt "menu"
msgid "dog"
msgstr ""

#, fuzzy
#~ msgid "gone"
#~ msgstr "weg"

msgid "old dog"
msgstr ""

#, fuzzy
msgid "new dog"
msgstr "old"

msgid "one dog"
msgid_plural "%d dogs"
msgstr[0] ""
msgstr[1] ""
msgstr[2] ""

msgid ""
"a \"dog\" with a C:\\tail, and a line that is so long that tools of gettext would never write it on one line of a file\n"
"barks\n"
msgstr ""

msgid "1984"
msgstr ""
"""


def dogs(text):
    """A translator that changes a word, in length and in position."""
    return text.replace("dog", "very big hound").replace("%d ", "%d of ")


def shouted(text, suffix, fields=(), translate=dogs):
    return translated(text.encode(), suffix, fields, translate).decode()


def test_po_is_read_by_polib_as_it_was_meant():
    before, after = (polib.pofile(text) for text in (PO, shouted(PO, ".po")))
    assert [(each.msgctxt, each.msgid, each.flags) for each in after] == [
        (each.msgctxt, each.msgid, each.flags) for each in before
    ]
    menu, old, fuzzy, plural, long, number = (each for each in after if not each.obsolete)
    assert (menu.msgstr, old.msgstr) == ("very big hound", "old very big hound")
    assert (fuzzy.msgstr, number.msgstr) == ("old", "")
    assert plural.msgstr_plural == {0: "one very big hound", 1: "%d of very big hounds", 2: "%d of very big hounds"}
    assert long.msgstr == dogs(long.msgid)
    assert max(map(len, shouted(PO, ".po").splitlines()[-6:])) < 80
    remarks = split("a", PO, ".po").remarks
    assert remarks == (
        "messages that are marked as fuzzy are not translated (1 found)",
        "check the messages with plural forms (1 found): all forms except the singular have the same words",
    )


@pytest.mark.parametrize(
    ("lost", "text"),
    [
        ("%s", "%s dog"),
        ("%(n)d", "dogs: %(n)d"),
        ("{name}", "dog {name}"),
        ("${dog_1}", "the ${dog_1}"),
        ("{{ dog }}", "the {{ dog }}"),
        ("%1", "dog %1"),
        ("%{count}", "%{count} dogs"),
    ],
)
def test_a_translation_that_lost_a_placeholder_is_not_taken(lost, text):
    (passage,) = [each for each in split("a", f'{{"a": "{text}"}}', ".json", ("a",)).passages if each.text]
    assert passage.lost("Hund") == [lost]
    assert passage.translated("Hund") == f'"{text}"'
    assert passage.lost(f"Hund {lost}") == []


@pytest.mark.parametrize("reply", ["", " \n"])
def test_a_reply_without_words_deletes_no_value(reply):
    assert shouted('{"a": "dog"}', ".json", ("a",), lambda text: reply) == '{"a": "dog"}'
    assert shouted('msgid "dog"\nmsgstr ""\n', ".po", (), lambda text: reply) == 'msgid "dog"\nmsgstr ""\n'


def test_what_is_no_placeholder_may_go():
    document = split("a", '{"a": "100 % dog, 100%ig"}', ".json", ("a",))
    assert [each.lost("Hund") for each in document.passages if each.text] == [[]]


@pytest.mark.parametrize(
    "odd", ["<![foo[ dog ]]>", "<![ dog>", "<![if IE]>", "<!dog>", "</ dog>", "<? dog ?>", "<![CDATA[dog]]>"]
)
def test_markup_that_is_none_is_left_alone(odd):
    assert shouted(f"<p>dog<p>{odd}<p>dog", ".html") == f"<p>very big hound<p>{odd}<p>very big hound"


@pytest.mark.parametrize("odd", ["<![foo[ dog", "<!-- dog", "<p dog", "<script> dog", "<"])
def test_markup_that_does_not_end_is_left_alone(odd):
    assert shouted(f"<p>dog{odd}", ".html", translate=str) == f"<p>dog{odd}"


def test_characters_of_icon_fonts_are_no_hindrance():
    assert shouted("<p>\ue001 dog <code>x\uf8ff</code>", ".html") == "<p>\ue001 very big hound <code>x\uf8ff</code>"


def test_a_message_with_cases_is_reported_and_stays():
    document = split("a", '{"a": "{n, plural, one {dog} other {dogs}}"}', ".json", ("a",))
    assert [each.unknown for each in document.passages] == [False, True, False]
    assert not document.has_words


def test_json_keeps_its_form():
    text = '{ "title" : "the \\"dog\\"",\n\t"a.b": ["dog", 1, {"c": "dog \\u00e9 \\/"}],"\\u0078": "dog"}\n'
    assert shouted(text, ".json", ("**",)) == text.replace("dog", "very big hound")
    assert shouted(text, ".json", ("title", "x")) == text.replace('the \\"dog', 'the \\"very big hound').replace(
        '"dog"}', '"very big hound"}'
    )
    assert shouted(text, ".json", ("a.b.c",)) == text.replace("dog \\u00e9", "very big hound \\u00e9")
    assert shouted(text, ".json", ("a.b",)) == text.replace('["dog"', '["very big hound"')


def test_tables_keep_their_quotation_marks_and_get_those_they_need():
    text = 'id;"text"\r\ndog;dog\r\ndog;"the ""dog"""\r\n\r\n;\r\n'
    assert shouted(text, ".csv", ("text",), lambda text: text.replace("dog", "dog; cat")) == (
        'id;"text"\r\ndog;"dog; cat"\r\ndog;"the ""dog; cat"""\r\n\r\n;\r\n'
    )
    assert shouted("dog\tdog\n", ".tsv", ("2",)) == "dog\tvery big hound\n"
    assert shouted('a\tb\nx\tthe "dog" barks\n', ".tsv", ("b",)) == 'a\tb\nx\tthe "very big hound" barks\n'


XLIFF = """<?xml version="1.0"?>
<xliff version="1.2"><file><body><group translate="no"><trans-unit id="0"><source>dog</source></trans-unit></group>
 <trans-unit id="1">
  <source>the <g id="1">dog</g> has <x id="2"/> tails &amp; a <ph id="3">&lt;br></ph></source>
 </trans-unit>
 <trans-unit id="2"><source>dog</source><target state="new">dog</target></trans-unit>
 <trans-unit id="3"><source>dog</source><target state="new">Hund</target></trans-unit>
 <trans-unit id="4"><source><![CDATA[<b>dog</b>]]></source><seg-source>dog</seg-source><alt-trans><target/></alt-trans></trans-unit>
</body></file></xliff>"""


def test_units_of_xliff_without_a_translation_get_one():
    expected = XLIFF.replace(
        "</ph></source>",
        '</ph></source>\n  <target>the <g id="1">very big hound</g> has <x id="2"/> tails &amp; a <ph id="3">&lt;br></ph></target>',
    )
    expected = expected.replace('new">dog<', 'new">very big hound<')
    expected = expected.replace("</seg-source>", "</seg-source><target><![CDATA[<b>very big hound</b>]]></target>")
    assert shouted(XLIFF, ".xlf") == expected


PAGE = """<!doctype html><html lang="en"><title>a dog</title><meta name="description" content="dog's">
<script>dog("<p>dog</p>")</script><style>.dog {}</style><pre>dog</pre><textarea>dog</textarea><svg><text>dog</text></svg>
<p title='the "dog"' class="dog">The <b>dog</b> &amp; the <code>dog</code>'s <i translate="no">dog <b>dog</b></i><br/>dog &lt; 5
<p translate=no>dog<b title="dog">dog</b></p><img alt="dog" src="dog.png"><a href="dog" class="notranslate" title="dog">dog</a>
<!-- dog --><ul><li>dog<li>{{ dog }}</ul>"""


def test_of_a_page_words_and_some_attributes_are_translated():
    def big(text):
        return (
            text
            if "{{" in text
            else text.replace("dog", "big dog").replace("the big dog's big dog big dog", "the dog's dog dog")
        )

    written = shouted(PAGE, ".html", translate=big)
    expected = PAGE
    for old, new in (
        ("a dog<", "a big dog<"),
        ("dog's\">", "big dog's\">"),
        ("'the \"dog\"'", "'the \"big dog\"'"),
        ("The <b>dog</b>", "The big <b>dog</b>"),
        ("<br/>dog", "<br/>big dog"),
        ('alt="dog"', 'alt="big dog"'),
        ("<li>dog", "<li>big dog"),
    ):
        assert old in expected
        expected = expected.replace(old, new)
    assert written == expected


@pytest.mark.parametrize(
    ("text", "suffix", "fields", "words"),
    [
        ('{"a": 1,}', ".json", ("a",), "not valid JSON: .*line 1 column 9.*; correct the file"),
        ('{"a": 1}\n{"a": \n', ".jsonl", ("a",), "not valid JSON: line 2; correct the file"),
        ('{"a": {"b": "x"}}', ".json", (), "no field is given: add --field NAME; the file has texts under a.b"),
        ('{"a": {"b": "x"}}', ".json", ("b",), "--field b matches no text; the file has texts under a.b"),
        ("[" * 200_000, ".json", ("b",), "not valid JSON|nested too deeply"),
        ("a,b\n1,x\n", ".csv", (), "no field is given: add --field NAME with one of a, b"),
        ("a,b\n1,x\n", ".csv", ("3",), "no column is named 3; give --field with one of a, b"),
        ('a,b\n1,x"y" z\n"a" b,c\n', ".csv", ("b",), "cells of the table cannot be separated"),
        ('msgid "a"\nmsgstr x\n', ".po", (), "not a PO file: line 2 .*; correct the line"),
        ("<xliff><file></xliff>", ".xlf", (), "not valid XLIFF: mismatched tag in line 1; correct the file"),
        ('<!DOCTYPE xliff [<!ENTITY a "b">]><xliff>&a;</xliff>', ".xlf", (), "the file declares entities"),
        ("<html><?php echo 1 ?>", ".html", (), "a PHP program"),
        ("der Hund", ".md", ("a",), "--field applies only to JSON, CSV and TSV"),
        ("<p>dog", ".html", ("a",), "--field applies only to JSON, CSV and TSV"),
        ("a: b", ".yaml", (), "YAML; .*yaml2po"),
        ("a=b", ".properties", (), "Java properties; .*prop2po"),
        ("{\\rtf1 dog}", "", (), "RTF; .*pandoc"),
        ("<!DOCTYPE TS><TS></TS>", ".ts", (), "Qt Linguist; .*lconvert"),
    ],
)
def test_what_cannot_be_translated_is_refused_with_a_remedy(text, suffix, fields, words):
    with pytest.raises(InputError, match=f"^a: .*(?:{words})"):
        split("a", text, suffix, fields)
