import io
import random

import pytest
import webvtt

from tests.text.test_documents import texts
from tests.text.timed.documents import passages, translated
from tests.text.timed.odd_files import odd_file

ONE, TWO = "Der Hund schläft.", "Die Katze bellt."


def unknown(document, suffix=".srt"):
    return [passage.source.strip() for passage in passages(document, suffix) if passage.unknown]


@pytest.mark.parametrize(
    "document",
    [
        f"1\n00:00:01,000 --> 00:00:03,000\n{ONE}\n\n2\n00:00:04,000 --> 00:00:06,000\n{TWO}\n",
        f"00:00:01,000 --> 00:00:03,000\n{ONE}\n00:00:04,000 --> 00:00:06,000\n{TWO}",
        f"1\n00:00:01,000 --> 00:00:03,000\n{ONE}\n2\n00:00:04,000 --> 00:00:06,000\n{TWO}\n",
        f"1\n00:00:01,000 --> 00:00:03,000\n\n{ONE}\n\n2\n\n00:00:04,000 --> 00:00:06,000\n \n{TWO}\n",
        f"1\r00:00:01,000 --> 00:00:03,000\r{ONE}\r\r2\r00:00:04,000 --> 00:00:06,000\r{TWO}\r",
        f"1\r\n00:00:01.0 --> 00:00:03.25\r\n{ONE}\n\n2\n0: 00: 04 --> 1:0:6,5\r\n{TWO}\n",
        f"\n\n7\n00:00:01,000-->00:00:03,000\n{ONE}\n\n7\n00:00:04,000 -> 00:00:06,000 X1:1 X2:2\n{TWO}\n",
        f"1\n100:00:01,000 --> 100:00:03,000\n{ONE}\n\n\n\n2\n00:01,000 --> 00:02,000\n{TWO}\n",
    ],
)
def test_a_line_of_times_begins_a_cue_however_it_is_written(document):
    assert texts(passages(document)) == [ONE, TWO]
    assert unknown(document) == []
    assert translated(document, lambda text: text.replace("Der", "The")) == document.replace("Der", "The")


def test_a_blank_line_within_a_cue_is_layout():
    document = f"1\n00:00:01,000 --> 00:00:03,000\n{ONE}\n\n{TWO}\n\n2\n00:00:04,000 --> 00:00:06,000\nJa\n"
    assert texts(passages(document)) == [f"{ONE} {TWO}", "Ja"]
    assert translated(document, str.upper) == document.upper()


def test_characters_that_unicode_calls_line_ends_are_text():
    document = "1\n00:00:01,000 --> 00:00:02,000\nder\u2028Hund\x85schläft\x0bnun\n\n"
    assert translated(document, lambda text: text) == document
    assert texts(passages(document)) == ["der Hund schläft nun"]


def test_each_speaker_is_translated_alone_and_keeps_the_dash():
    document = "1\n00:00:01,000 --> 00:00:02,000\n<i>- Ja</i>\n-Nein, {\\i1}du{\\i0}.\n"
    assert texts(passages(document)) == ["Ja", "Nein, du."]
    assert translated(document, str.upper) == document.replace("Ja", "JA").replace("Nein", "NEIN").replace("du", "DU")


def test_what_is_neither_text_nor_known_structure_is_named():
    document = f"Kopf\n1\n00:00:01,000 --> 00:00:03,000 {ONE}\n\n2\n00:00:0x --> 00:00:09,000\n{TWO}\n"
    assert unknown(document) == ["Kopf", f"00:00:01,000 --> 00:00:03,000 {ONE}", "00:00:0x --> 00:00:09,000"]
    assert texts(passages(document)) == [TWO]
    assert unknown("WEBVTT\n\nirgendwas\n\n00:01.000 --> 00:02.000\nja\n", ".vtt") == ["irgendwas"]


def test_notes_styles_and_regions_of_webvtt_stay():
    document = (
        "WEBVTT - Titel\nKind: captions\n\nREGION\nid:fred\n\nSTYLE\n::cue(.red) {\n  color: red;\n}\n\n"
        f"NOTE\n{TWO}\n\nintro\n00:01.000 --> 00:03.000 region:fred line:85%,end\n<v Anna><c.red>{ONE}</c></v>\n\n"
        f"NOTE zwischen\n\nWEBVTT\n\nSTYLE\n::cue() {{ color: red }}\n\n00:04.000 --> 00:06.000\n{TWO}\n"
    )
    assert texts(passages(document, ".vtt")) == [ONE, TWO]
    assert unknown(document, ".vtt") == []
    assert translated(document, str.upper, ".vtt") == document.replace(ONE, ONE.upper()).replace(
        f"00:06.000\n{TWO}", f"00:06.000\n{TWO.upper()}"
    )


def test_webvtt_without_its_header_is_read():
    assert texts(passages("00:01.000 --> 00:02.000\nja\n\nNOTE nein\n", ".vtt")) == ["ja"]


@pytest.mark.parametrize("header", ["", "[INFORMATION]\n[TITLE]Der Film\n[END INFORMATION]\n[SUBTITLE]\n"])
def test_sbv_and_subviewer(header):
    document = f"{header}0:00:01.000,0:00:03.000\n{ONE}[br]Ja.\n\n0:00:04.00,0:00:06.00\n{TWO}\n"
    assert texts(passages(document, ".sbv")) == [f"{ONE} Ja.", TWO]
    assert unknown(document, ".sub") == []
    assert translated(document, str.lower, ".sub").startswith(f"{header}0:00:01.000,0:00:03.000\n{ONE.lower()}[br]ja")


def test_webvtt_reads_the_same_cues_with_another_reader():
    """webvtt-py sees as many cues before and after, with the same times and settings."""
    seen = 0
    for number in range(60):
        document = (
            odd_file("vtt", random.Random(number)).decode("utf-8", "ignore").replace("\r\n", "\n").replace("\r", "\n")
        )
        if not document.startswith("WEBVTT") or "\0" in document or document.count("WEBVTT") > 1:
            continue
        before, after = (
            [(cue.start, cue.end, cue.identifier) for cue in webvtt.from_buffer(io.StringIO(text))]
            for text in (document, translated(document, str.upper, ".vtt"))
        )
        assert before == after
        seen += len(before)
    assert seen > 50
