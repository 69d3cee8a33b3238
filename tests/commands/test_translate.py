import io
import json
import os
import subprocess
import sys
import threading

import pytest

from gemma_cli.cli import run
from gemma_cli.core.errors import GemmaError
from gemma_cli.speech.translation import parse
from gemma_cli.text.documents import LONGEST
from tests.commands.test_transcribe import cues
from tests.media.fetching.server import serving
from tests.speech.words import ROOT, hear, pause, record, say

SRT = """1
00:00:01,000 --> 00:00:02,500
Guten Morgen.

2
00:00:03,000 --> 00:00:04,000 X1:40
<i>Ja</i>
""".replace("\n", "\r\n")


@pytest.fixture
def shouting(engine):
    """An engine that translates text to capitals, and speech to "DE:" and its words."""

    def reply(request, samples):
        if samples is None:
            return request.messages[0].text.partition("\n\n")[2].upper()
        return f"{hear(samples)}\nGerman: DE:{hear(samples)}"

    engine.reply = reply
    return engine


@pytest.fixture
def piped(monkeypatch):
    def pipe(content: bytes):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(content))))

    return pipe


def test_speech_keeps_its_transcript(gemma, shouting, tmp_path):
    record(tmp_path / "a.wav", pause(1.0), say([1, 2]), pause(1.0), say([3]), pause(1.0))
    command = ("translate", "a.wav", "--to", "de")
    assert gemma(*command).out == "DE:w1 w2\nDE:w3\n"
    assert gemma(*command, "--show", "transcript").out == "w1 w2\nw3\n"
    assert gemma(*command, "--show", "both").out == "w1 w2\nDE:w1 w2\nw3\nDE:w3\n"
    told = json.loads(gemma(*command, "--json").out)
    assert (told["transcript"], told["text"]) == ("w1 w2 w3", "DE:w1 w2 DE:w3")
    assert [(row["transcript"], row["text"]) for row in told["segments"]] == [("w1 w2", "DE:w1 w2"), ("w3", "DE:w3")]
    rows = json.loads(gemma(*command, "--format", "json", "--show", "both").out)["segments"]
    assert rows == told["segments"]


def test_subtitles_of_speech_in_one_language_or_both(gemma, shouting, tmp_path):
    record(tmp_path / "a.wav", pause(1.0), say([1, 2]), pause(1.0))
    command = ("translate", "a.wav", "--to", "de", "--format", "srt")
    start, end = pytest.approx(1.0, abs=0.1), pytest.approx(1.65, abs=0.1)
    assert cues(gemma(*command).out) == [(start, end, "DE:w1 w2")]
    assert cues(gemma(*command, "--show", "transcript").out) == [(start, end, "w1 w2")]
    assert gemma(*command, "--show", "both").out.endswith("\nw1 w2\nDE:w1 w2\n\n")


def test_seams_are_joined_in_both_languages(gemma, engine, tmp_path):
    record(tmp_path / "a.wav", pause(1.0), say(range(100, 250)), pause(1.0))
    engine.reply = lambda request, samples: f"{hear(samples)}\nGerman: {hear(samples).replace('w', 'v')}"
    told = json.loads(gemma("translate", "a.wav", "--to", "de", "--json").out)
    assert told["transcript"].split() == [f"w{word}" for word in range(100, 250)]
    assert told["text"].split() == [f"v{word}" for word in range(100, 250)]


@pytest.mark.parametrize(
    ("reply", "parts"),
    [
        ("Hallo.\nEnglish: Hello.", ("Hallo.", "Hello.")),
        ("Hallo. English: Hello.", ("Hallo.", "Hello.")),
        ("Hallo.\nEnglish:Hello.", ("Hallo.", "Hello.")),
        ("Hallo.\nHello.", ("Hallo.", "Hello.")),
        ("Hello.", ("", "Hello.")),
        ("", ("", "")),
    ],
)
def test_replies_that_leave_something_out(reply, parts):
    assert parse(reply, "English") == parts


def test_a_film_s_subtitles_keep_all_but_their_words(gemma, shouting, tmp_path):
    (tmp_path / "film.srt").write_bytes(SRT.encode())
    outcome = gemma("translate", "film.srt", "--to", "en")
    translated = SRT.replace("Guten Morgen.", "GUTEN MORGEN.").replace(">Ja<", ">JA<")
    assert (outcome.code, outcome.err, outcome.out) == (0, "", translated)
    asked = " ".join(request.messages[0].text for request in shouting.requests)
    assert not any(mark in asked for mark in ("00:", "-->", "X1"))


def test_a_translation_cannot_add_a_cue(gemma, engine, tmp_path):
    (tmp_path / "film.srt").write_text(SRT)
    engine.reply = lambda request, samples: "a\n\n3\n00:00:09,000 --> 00:00:10,000\nb"
    outcome = gemma("translate", "film.srt", "--to", "en")
    assert outcome.code == 0
    assert outcome.out.count("-->") == 2


def test_markdown_keeps_its_marks_and_tells_what_got_lost(gemma, shouting, tmp_path):
    (tmp_path / "a.md").write_text("# Titel\n\n- Nimm `pip`!\n\n```\nnichts\n```\n")
    outcome = gemma("translate", "a.md", "--to", "en")
    assert outcome.out == "# TITEL\n\n- NIMM `PIP`!\n\n```\nnichts\n```\n"
    assert outcome.err == "gemma: the translation lost `pip`: check the translation\n"


def test_a_text_is_translated_by_paragraph(gemma, shouting, tmp_path):
    (tmp_path / "a.txt").write_text("\ufeffEins.\nZwei.\n\n\n  Drei.")
    assert gemma("translate", "a.txt", "--to", "en", "--from", "de").out == "\ufeffEINS.\nZWEI.\n\n\n  DREI."
    assert [request.messages[0].text.partition(".")[0] for request in shouting.requests] == [
        "Translate the following text from German into English"
    ] * 2
    told = json.loads(gemma("translate", "a.txt", "--to", "en", "--json").out)
    assert told["text"] == "EINS.\nZWEI.\n\n\n  DREI."
    assert (told["segments"], told["transcript"], told["target_language"]) == (None, None, "English")


def test_stdin_is_translated_line_by_line(gemma, shouting, piped):
    piped("\n\ufeffeins\n\n  zwei\r\n12\ndrei".encode())
    assert gemma("translate", "-", "--to", "en").out == "\nEINS\n\n  ZWEI\r\n12\nDREI"
    piped(b" \n\n")
    gemma("translate", "-", "--to", "en").refuses("standard input", "the file has no words to translate")
    piped(b"eins\n" * 4000 + b"\xff\n")
    assert gemma("translate", "-", "--to", "en").code == 2


def test_subtitles_from_stdin_are_subtitles(gemma, shouting, piped):
    piped(b"WEBVTT\n\n00:01.000 --> 00:02.000\nja\n")
    assert gemma("translate", "-", "--to", "en").out == "WEBVTT\n\n00:01.000 --> 00:02.000\nJA\n"


def test_a_line_is_answered_before_the_next_one_comes(tmp_path):
    environment = {**os.environ, "HOME": str(tmp_path), "GEMMA_MODEL": "pocket", "PYTHONPATH": str(ROOT)}
    environment["WORDS_LOG"] = str(tmp_path / "log")
    command = [sys.executable, "-m", "tests.speech.words", "translate", "-", "--to", "en"]
    with subprocess.Popen(command, env=environment, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        limit = threading.Timer(300, child.kill)
        limit.start()
        for line in (b"eins\n", b"zwei\n"):
            child.stdin.write(line)
            child.stdin.flush()
            assert child.stdout.readline() == line
        child.stdin.close()
        assert child.wait() == 0
        limit.cancel()


def test_a_loop_is_translated_again_and_then_cut(gemma, engine, tmp_path):
    (tmp_path / "a.txt").write_text("Danke.\n")
    engine.reply = lambda request, samples: "Thanks. " * (1 if request.sampling.temperature else 20)
    assert gemma("translate", "a.txt", "--to", "en").out == "Thanks.\n"
    engine.reply = lambda request, samples: "Thanks. " * 20
    assert gemma("translate", "a.txt", "--to", "en").out == "Thanks.\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("a.txt --to en --format srt", ["a.txt", "--format"]),
        ("a.txt --to en --show both", ["a.txt", "--show"]),
        ("a.txt --to en --format doc", ["doc", "srt"]),
        ("a.wav --to en --format srt --json", ["--json", "--format"]),
        ("blank.txt --to en", ["blank.txt", "no words"]),
        ("a.txt --to en --clip 0-5", ["a.txt", "--clip"]),
        ("a.wav --to en --clip 5-0", ["--clip 5-0"]),
        ("a.wav --to en -f srt -f txt", ["-o DIR"]),
        ("a.wav --to en -f srt --show both --max-line-width 9 --max-line-count 1", ["--max-line-count", "--show both"]),
        ("a.wav --to en --output-template {date}", ["{date}", "{language}"]),
    ],
)
def test_what_does_not_fit_together_is_refused(gemma, engine, tmp_path, arguments, words):
    (tmp_path / "a.txt").write_text("Danke.\n")
    (tmp_path / "blank.txt").write_text("\n * \n")
    record(tmp_path / "a.wav", say([1]), pause(1.0))
    gemma("translate", *arguments.split()).refuses(*words)
    assert engine.requests == []


def test_many_files_go_into_a_folder_each_in_its_own_form(gemma, shouting, tmp_path):
    record(tmp_path / "in" / "talk.wav", pause(1.0), say([1, 2]), pause(1.0))
    (tmp_path / "in" / "film.de.srt").write_text(SRT)
    (tmp_path / "in" / "deep").mkdir()
    (tmp_path / "in" / "deep" / "notes.de.md").write_text("# Titel")
    (tmp_path / "in" / "bad.vtt").write_bytes(b"\xff\xfe")
    command = ("translate", "in", "--to", "en", "--from", "German", "-o", "out", "-f", "srt", "-f", "txt")
    shouting.reply = lambda request, samples: (
        f"{hear(samples)}\nEnglish: EN" if samples is not None else request.messages[0].text.split("\n\n")[1].upper()
    )
    outcome = gemma(*command)
    written = {str(path.relative_to(tmp_path / "out")): path.read_text() for path in (tmp_path / "out").rglob("*.*")}
    assert (outcome.code, outcome.out) == (1, "")
    assert "1 of 4 files failed: in/bad.vtt: " in outcome.err
    assert written.keys() == {"film.en.srt", "deep/notes.en.md", "talk.en.srt", "talk.en.txt"}
    assert "GUTEN MORGEN." in written["film.en.srt"]
    assert (written["deep/notes.en.md"], written["talk.en.txt"]) == ("# TITEL", "EN\n")
    asked = len(shouting.requests)
    gemma(*command).refuses("exists", "--skip-existing", "--overwrite")
    assert gemma(*command, "--skip-existing").code == 1
    assert len(shouting.requests) == asked


def test_many_files_on_stdout_have_headings(gemma, shouting, tmp_path):
    record(tmp_path / "a.wav", say([1]), pause(1.0))
    (tmp_path / "b.txt").write_text("ja")
    assert gemma("translate", "a.wav", "b.txt", "--to", "de").out == "==> a.wav <==\nDE:w1\n==> b.txt <==\nJA\n"
    told = [json.loads(line) for line in gemma("translate", "a.wav", "b.txt", "--to", "de", "--json").out.splitlines()]
    assert [(one["file"], one["text"]) for one in told] == [("a.wav", "DE:w1"), ("b.txt", "JA")]
    outcome = gemma("translate", "none.txt", "b.txt", "--to", "de")
    assert (outcome.code, outcome.out) == (1, "==> b.txt <==\nJA\n")
    assert outcome.err == "gemma: 1 of 2 files failed: none.txt: no such file; check the path\n"


def test_a_part_of_a_recording_in_lines_of_a_width(gemma, shouting, tmp_path):
    record(tmp_path / "a.wav", *[part for word in range(9) for part in (say([word, word + 100]), pause(2.0))])
    command = ("translate", "a.wav", "--to", "de", "--clip", "2-5", "-f", "srt")
    assert [text for _, _, text in cues(gemma(*command).out)] == ["DE:w1 w101"]
    both = gemma(*command, "--show", "both", "--max-line-width", "5").out
    assert both.split("\n")[2:6] == ["w1", "w101", "DE:w1", "w101"]


def test_a_text_at_an_address_is_translated(gemma, shouting, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    with serving() as server:
        server.files["/film.srt"] = SRT.encode()
        server.files["/a.txt"] = b"\x89PNG\r\n\x1a\n\0\0"
        assert gemma("translate", server.address("/film.srt"), "--to", "en").out.count("-->") == 2
        gemma("translate", server.address("/a.txt"), "--to", "en").refuses("/a.txt", "PNG", "describe-image")
        gemma("translate", server.address("/gone.md"), "--to", "en").refuses("/gone.md", "404")


def test_a_sentence_over_two_cues_is_asked_about_once(gemma, shouting, tmp_path):
    (tmp_path / "film.srt").write_text(SRT.replace("Guten Morgen.", "Guten").replace("<i>Ja</i>", "<i>Morgen.</i>"))
    outcome = gemma("translate", "film.srt", "--to", "en")
    assert outcome.out == SRT.replace("Guten Morgen.", "GUTEN").replace("<i>Ja</i>", "<i>MORGEN.</i>")
    assert len(shouting.requests) == 1


def test_context_is_in_both_prompts(gemma, shouting, tmp_path):
    record(tmp_path / "a.wav", say([1]), pause(1.0))
    (tmp_path / "a.txt").write_text("Danke.\n")
    gemma("translate", "a.wav", "a.txt", "--to", "en", "--context", "Musco,\nSuresh")
    spoken, written = (request.messages[0].text for request in shouting.requests)
    assert spoken.endswith("These may occur; spell them so: Musco, Suresh")
    assert written.endswith("spell them so: Musco, Suresh\n\nDanke.")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (SRT.encode("utf-16"), ""),
        (b"\xef\xbb\xbf" + SRT.encode(), ""),
        (
            SRT.replace("Ja", "Schläft").encode("cp1252"),
            "gemma: standard input: the text is not UTF-8 and was read as cp1252",
        ),
        (SRT.encode().rstrip(), ""),
    ],
)
def test_a_text_comes_back_in_its_encoding_from_a_file_and_from_stdin(
    engine, piped, capsysbinary, monkeypatch, tmp_path, content, told
):
    engine.reply = lambda request, samples: request.messages[0].text.partition("\n\n")[2]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "film.srt").write_bytes(content)
    for name in ("film.srt", "-"):
        piped(content)
        capsysbinary.readouterr()
        assert run(["translate", name, "--to", "en", "--from", "de"]) == 0
        shown = capsysbinary.readouterr()
        assert shown.out == content
        assert shown.err.decode().startswith(
            told.replace("standard input", "film.srt" if name != "-" else "standard input")
        )


def test_an_encoding_can_be_named_and_a_wrong_one_is_refused(gemma, shouting, tmp_path):
    (tmp_path / "a.txt").write_bytes("Ещё".encode("koi8-r"))
    outcome = gemma("translate", "a.txt", "--to", "en", "--encoding", "koi8-r", "-o", "out")
    assert (outcome.code, (tmp_path / "out" / "a.en.txt").read_bytes()) == (0, "ЕЩЁ".encode("koi8-r"))
    gemma("translate", "a.txt", "--to", "en", "--encoding", "utf-8").refuses("a.txt", "utf-8", "--encoding")
    gemma("translate", "a.txt", "--to", "en", "--encoding", "klingon").refuses("--encoding klingon", "cp1252")


def test_a_translation_that_the_encoding_lacks_is_in_utf_8_and_reported(gemma, engine, tmp_path):
    (tmp_path / "a.txt").write_bytes("Schläft.".encode("cp1252"))
    engine.reply = lambda request, samples: "Спит."
    outcome = gemma("translate", "a.txt", "--to", "ru", "--from", "de")
    assert (outcome.code, outcome.out) == (0, "Спит.")
    assert "cp1252 cannot encode 'С', so the translation is written in UTF-8" in outcome.err


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.srt", b"\x89PNG\r\n\x1a\n\0\0", ["a.srt", "PNG", "describe-image"]),
        ("a.sub", b"\0\0\x01\xba\x44\0", ["a.sub", "VobSub", "OCR"]),
        ("a.srt", b"<html><body>Nicht da.</body></html>", ["a.srt", "cues; if the file is plain text"]),
        ("a.txt", b"", ["a.txt", "empty"]),
        ("a.txt", b"a\0b", ["a.txt", "not a text"]),
    ],
)
def test_a_refused_text_prints_nothing_and_is_told_what_it_is(gemma, shouting, tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    outcome = gemma("translate", name, "--to", "en")
    outcome.refuses(*words)
    assert "iconv" not in outcome.err
    assert "record" not in outcome.err
    assert shouting.requests == []


def test_what_stays_untranslated_is_reported_with_its_line(gemma, shouting, tmp_path):
    (tmp_path / "a.srt").write_text("Kopf\n" + SRT.replace("\r\n", "\n"))
    outcome = gemma("translate", "a.srt", "--to", "en")
    assert outcome.err == "gemma: a.srt: line 1: 'Kopf' is not part of a subtitle, so the line is copied unchanged\n"
    assert outcome.out.startswith("Kopf\n1\n")


def test_one_failure_of_any_kind_does_not_end_a_batch(gemma, shouting, tmp_path):
    def reply(request, samples):
        if "zwei" in request.messages[0].text:
            raise GemmaError("the context is full; take a shorter text")
        return "ONE"

    shouting.reply = reply
    for name, text in (("a.txt", "eins"), ("b.txt", "zwei"), ("c.txt", "drei")):
        (tmp_path / name).write_text(text)
    outcome = gemma("translate", "a.txt", "b.txt", "c.txt", "--to", "en", "-o", "out")
    assert outcome.code == 1
    assert "1 of 3 files failed: the context is full" in outcome.err
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.en.txt", "c.en.txt"]


def test_control_characters_of_a_model_never_come_out(gemma, engine, tmp_path):
    (tmp_path / "film.srt").write_text(SRT)
    engine.reply = lambda request, samples: "\x1b[31mred\x07"
    assert "\x1b" not in gemma("translate", "film.srt", "--to", "en").out


@pytest.mark.parametrize(
    ("content", "translated"),
    [
        (b'msgid "dog"\nmsgstr ""\n', 'msgid "dog"\nmsgstr "DOG"\n'),
        (b"<html><p title='x y'>Hund</p></html>", "<html><p title='X Y'>HUND</p></html>"),
    ],
)
def test_data_from_stdin_keeps_its_form(gemma, shouting, piped, content, translated):
    piped(content)
    assert gemma("translate", "-", "--to", "en").out == translated


@pytest.mark.parametrize("content", [b'{"a": "Hund"}\n', b"\\rtf1", b'<?xml version="1.0"?><a>Hund</a>'])
def test_data_without_fields_or_of_another_kind_is_refused_and_nothing_is_asked(gemma, shouting, piped, content):
    piped(content if content[:1] in b"{<" else b"{" + content)
    gemma("translate", "-", "--to", "en").refuses("standard input", "; ")
    assert shouting.requests == []


def test_fields_of_json_and_tables_are_translated(gemma, shouting, piped, tmp_path):
    piped(b"id,text\na,Hund\n")
    assert gemma("translate", "-", "--to", "en", "--field", "text").out == "id,text\na,HUND\n"
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.json").write_text('{"text": "Hund", "id": "a"}')
    (tmp_path / "in" / "b.csv").write_text("id\na\n")
    (tmp_path / "in" / "c.md").write_text("text")
    outcome = gemma("translate", "in", "--to", "en", "--field", "text", "-o", "out")
    assert outcome.code == 1
    assert (tmp_path / "out" / "a.en.json").read_text() == '{"text": "HUND", "id": "a"}'
    assert "1 of 2 files failed: in/b.csv: no column is named text; give --field with one of id" in outcome.err
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.en.json"]


@pytest.mark.parametrize(
    ("name", "form", "fields"),
    [
        ("a.json", '{{"text": "{}"}}', ("--field", "text")),
        ("a.csv", 'id,text\na,"{}"\n', ("--field", "text")),
        ("a.html", "<p>{}</p>", ()),
        ("a.po", 'msgid "{}"\nmsgstr ""\n', ()),
        ("a.md", "- {}\n", ()),
        ("a.txt", "{}", ()),
    ],
)
def test_a_long_text_in_any_format_is_asked_about_in_parts(gemma, shouting, tmp_path, name, form, fields):
    sentences = 2400 if name == "a.csv" else 150  # more than the csv module takes as a cell by default
    text = "Der Hund mit den langen Ohren schlummert unter dem Tisch. " * sentences
    (tmp_path / name).write_text(form.format(text.strip()))
    outcome = gemma("translate", name, "--to", "en", *fields)
    assert outcome.code == 0
    assert text.strip().upper() in outcome.out
    asked = [request.messages[0].text.partition("\n\n")[2] for request in shouting.requests]
    assert max(map(len, asked)) <= LONGEST
    assert len(asked) < 2 * len(text) / LONGEST


def test_what_stays_untranslated_is_reported(gemma, shouting, tmp_path):
    (tmp_path / "a.po").write_text('msgid "%s dogs"\nmsgstr ""\n\n#, fuzzy\nmsgid "b"\nmsgstr "c"\n')
    outcome = gemma("translate", "a.po", "--to", "en")
    assert (outcome.code, outcome.out) == (0, (tmp_path / "a.po").read_text())
    assert outcome.err == (
        "gemma: a.po: messages that are marked as fuzzy are not translated (1 found)\n"
        "gemma: '%s dogs' stays untranslated: the model's translation changed %s\n"
    )
    (tmp_path / "b.po").write_text('msgid "a"\nmsgstr "b"\n')
    outcome = gemma("translate", "b.po", "--to", "en")
    assert (outcome.code, outcome.out) == (0, 'msgid "a"\nmsgstr "b"\n')
    assert outcome.err == "gemma: b.po: no text left to translate, so the file is copied unchanged\n"
    (tmp_path / "c.json").write_text('{"a": "{n, plural, one {dog} other {dogs}}"}')
    outcome = gemma("translate", "c.json", "--to", "en", "--field", "a")
    assert "cannot be translated, so the line is copied unchanged" in outcome.err


def test_a_character_that_a_page_s_encoding_lacks_is_written_as_its_number(gemma, engine, tmp_path):
    (tmp_path / "a.html").write_bytes(b'<!doctype html><meta charset="iso-8859-1"><p>Hund')
    engine.reply = lambda request, samples: "собака ä"
    assert gemma("translate", "a.html", "--to", "en", "-o", ".").code == 0
    written = (tmp_path / "a.en.html").read_bytes()
    assert written.endswith("<p>&#1089;&#1086;&#1073;&#1072;&#1082;&#1072; ä".encode("latin-1"))
