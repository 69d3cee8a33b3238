import pytest

from tests.text.test_documents import texts
from tests.text.timed.documents import passages, translated

ASS = """[Script Info]
Title: Der Film

[V4+ Styles]
Format: Name, Fontname
Style: Signs,Arial

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
Comment: 0,0:00:01.00,0:00:02.00,Signs,,0,0,0,,Nicht zu sehen.
Dialogue: 0,0:20:56.48,0:20:58.94,Signs,,0,0,0,,{\\pos(140,291)\\c&H1B130E&}Ja, der Hund,\\Ner {\\i1}schläft{\\i0}.
Dialogue: 0,0:20:58.94,0:20:59.94,Signs,,0,0,0,,{\\p1}m 0 0 l 10 10{\\p0}

[Fonts]
fontname: a.ttf
Dialogue: 0,0,0,,nein
"""


def test_of_substation_only_dialogue_is_text():
    assert texts(passages(ASS, ".ass")) == ["Ja, der Hund, er schläft."]
    loud = translated(ASS, str.upper, ".ssa")
    assert loud == ASS.replace("Ja, der Hund,\\Ner {\\i1}schläft", "JA, DER HUND,\\NER {\\i1}SCHLÄFT")


def test_a_sentence_over_two_dialogue_lines_is_one_unless_the_style_changes():
    lines = [f"Dialogue: 0,0:00:0{at}.00,0:00:0{at + 1}.00,{{}},,0,0,0,,{{}}\n" for at in (1, 2)]
    document = "[Script Info]\n[Events]\n" + lines[0].format("A", "Der große") + lines[1].format("A", "Hund schläft.")
    assert texts(passages(document, ".ass")) == ["Der große Hund schläft."]
    assert "0:00:03.00,A,,0,0,0,,dog sleeps.\n" in translated(document, lambda text: "The big dog sleeps.", ".ass")
    other = document.replace(",A,,0,0,0,,Hund", ",B,,0,0,0,,Hund")
    assert texts(passages(other, ".ass")) == ["Der große", "Hund schläft."]


def test_lyrics_keep_fields_and_times():
    document = "[ti:Lied]\n[00:01.00][00:09.00]Der Hund <00:01.50>schläft\n\n[00:04.00]\n[00:05.00]♪\nAnhang\n"
    assert texts(passages(document, ".lrc")) == ["Der Hund schläft"]
    assert [passage.source for passage in passages(document, ".lrc") if passage.unknown] == ["Anhang\n"]
    assert translated(document, str.upper, ".lrc") == document.replace(
        "Der Hund <00:01.50>schläft", "DER HUND <00:01.50>SCHLÄFT"
    )


@pytest.mark.parametrize("head", ["{1}{1}25.000\n{25}{75}", "[10][50]"])
def test_microdvd_and_mpl2(head):
    document = f"{head}{{y:i}}Der Hund|schläft.\n{{80}}{{99}}Ja\n"
    assert texts(passages(document, ".sub"))[0] == "Der Hund schläft."
    assert translated(document, str.upper, ".sub").startswith(f"{head}{{y:i}}DER HUND|SCHLÄFT.\n")


def test_of_ttml_only_paragraphs_are_text():
    document = (
        '<?xml version="1.0"?>\n<tt xmlns="http://www.w3.org/ns/ttml" xml:lang="de"><head><ttm:title>Titel</ttm:title>'
        "</head><body>\n<!-- <p>nein</p> -->\n<div>"
        '<p begin="00:00:01.000" end="3s">Der <span tts:color="red">Hund</span>'
        "<br/>\n   schläft &amp; bellt.</p>\n<p begin='3s' end='4s'/><p>Ja</p></div></body></tt>"
    )
    assert texts(passages(document, ".ttml")) == ["Der Hund schläft & bellt.", "Ja"]
    loud = document.replace("Hund", "HUND").replace(">Der", ">DER").replace("schläft", "SCHLÄFT")
    assert translated(document, str.upper, ".dfxp") == loud.replace("bellt", "BELLT").replace("<p>Ja", "<p>JA")


def test_a_speaker_after_an_empty_line_is_found_once():
    document = "<tt><body><p begin='1s' end='2s'>- Ja<br/><br/>- <b>Nein</b></p></body></tt>"
    assert "".join(passage.source for passage in passages(document, ".ttml")) == document
    assert translated(document, str.upper, ".ttml") == document.replace("Ja", "JA").replace("Nein", "NEIN")
