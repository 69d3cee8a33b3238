"""Data sets as they come, and scores that are what papers mean by them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemma_cli.benchmark.quality import scores
from gemma_cli.benchmark.quality.items import Item, read_items
from gemma_cli.benchmark.quality.scores import Scores, bare, check_installed, score
from gemma_cli.core.errors import InputError, UsageError

pytest.importorskip("jiwer", reason="pip install 'gemma-cli[quality]'")
pytest.importorskip("sacrebleu", reason="pip install 'gemma-cli[quality]'")

WORD = st.sampled_from(["ab", "cd", "e", "f"])
WORDS = st.lists(WORD, min_size=1, max_size=6)


def distance(one: list[str], other: list[str]) -> int:
    """Levenshtein's distance, by the definition."""
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        above, row[0] = row[0], i
        for j, b in enumerate(other, 1):
            above, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, above + (a != b))
    return row[-1]


@given(st.lists(st.tuples(WORDS, st.lists(WORD, max_size=6)), min_size=1, max_size=4))
def test_the_word_error_is_edits_of_all_items_over_all_their_words(pairs: list[tuple[list[str], list[str]]]) -> None:
    found = score("transcribe", [" ".join(right) for right, _ in pairs], [" ".join(said) for _, said in pairs])
    edits = sum(distance(right, said) for right, said in pairs)
    assert found.word_error_rate == pytest.approx(edits / sum(len(right) for right, _ in pairs))
    assert (found.word_error_rate == 0) == (found.bare == 1)


def test_case_and_punctuation_count_for_exact_alone() -> None:
    found = score("transcribe", ["The cat, sleeps.", "Über 3"], ["the cat sleeps", " Über 3 "])
    assert found == Scores(2, 0.5, 1.0, 0.0, 0.0)
    assert bare("Don't_stop,  NOW!") == "don t stop now"


def test_translations_have_the_scores_of_sacrebleu_with_its_signature() -> None:
    right = ["the cat sleeps under the green table", "good morning to all of you"]
    same = score("translate", right, right, "en")
    assert (round(same.bleu or 0, 6), same.chrf, same.exact) == (100, 100, 1)
    other = score("translate", right, ["the dog sleeps under the green table", "good evening to all of you"], "en")
    assert 20 < (other.bleu or 0) < 90
    assert "tok:13a" in (other.signature or "")
    assert "tok:zh" in (score("translate", ["猫在桌子下面睡觉"], ["猫在桌子下面睡觉"], "zh-CN").signature or "")


def test_a_missing_library_is_named_with_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scores, "find_spec", lambda name: None if name == "jiwer" else object())
    with pytest.raises(UsageError, match=r"jiwer, not installed here: pip install 'gemma-cli\[quality\]'"):
        check_installed()


def write(path: Path, *rows: tuple[str, ...]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join("\t".join(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_common_voice(tmp_path: Path) -> None:
    head = ("client_id", "path", "sentence_id", "sentence", "up_votes", "locale", "segment")
    rows = [
        ("c1", "common_voice_de_1.mp3", "s1", 'Er sagte "ja', "2", "de", ""),
        ("c2", "common_voice_de_2.mp3", "s2", "", "2", "de", ""),
        ("c3", "common_voice_de_3.mp3", "s3", "Drei.", "2", "de", ""),
    ]
    found = read_items(write(tmp_path / "test.tsv", head, *rows), "transcribe")
    clips = [str(tmp_path / "clips" / f"common_voice_de_{number}.mp3") for number in (1, 3)]
    assert [item.audio for item in found.items] == clips
    assert ([item.reference for item in found.items], found.source) == (['Er sagte "ja', "Drei."], "de")
    with pytest.raises(InputError, match="no column 'translation'"):
        read_items(tmp_path / "test.tsv", "translate")


def test_covost_names_its_languages_in_the_file(tmp_path: Path) -> None:
    path = write(
        tmp_path / "covost_v2.fr_en.test.tsv",
        ("path", "sentence", "translation", "client_id"),
        ("common_voice_fr_1.mp3", "Bonjour.", "Hello.", "c"),
    )
    assert [read_items(path, task).items[0].reference for task in ("transcribe", "translate")] == ["Bonjour.", "Hello."]
    found = read_items(path, "translate")
    assert (found.source, found.target) == ("fr", "en")
    assert found.items[0].audio == str(tmp_path / "clips" / "common_voice_fr_1.mp3")


def test_fleurs_has_no_header_and_sound_below_its_split(tmp_path: Path) -> None:
    row = ("1904", "10004088536354799741.wav", "Der Satz.", "der satz", "d e r |", "172800", "FEMALE")
    path = write(tmp_path / "de_de" / "test.tsv", row, row)
    sound = tmp_path / "de_de" / "audio" / "test" / row[1]
    assert read_items(path, "transcribe", limit=1).items == (Item("Der Satz.", audio=str(sound)),)
    beside = tmp_path / "de_de" / "test" / row[1]
    beside.parent.mkdir()
    beside.write_bytes(b"RIFF")
    found = read_items(path, "transcribe")
    assert (len(found.items), found.items[0].audio, found.source) == (2, str(beside), "de")
    with pytest.raises(InputError, match="by id into a JSONL file"):
        read_items(path, "translate")


def test_jsonl_looks_for_sound_next_to_itself(tmp_path: Path) -> None:
    path = tmp_path / "items.jsonl"
    entries = [{"audio": "a.wav", "text": "one"}, {"audio": "sample:cat.en.wav", "text": "two"}]
    path.write_text("\n\n".join(map(json.dumps, entries)), encoding="utf-8")
    found = read_items(path, "transcribe").items
    assert found == (Item("one", audio=str(tmp_path / "a.wav")), Item("two", audio="sample:cat.en.wav"))


@pytest.mark.parametrize(
    ("name", "content", "task", "reason"),
    [
        ("x.jsonl", "", "transcribe", "no items"),
        ("x.jsonl", "{", "chat", "x.jsonl:1: not JSON"),
        ("x.jsonl", '\n{"prompt": "hi"}', "chat", 'x.jsonl:2: each line must be {"prompt"'),
        ("x.jsonl", '["hi"]', "chat", "x.jsonl:1: each line"),
        ("x.jsonl", '{"text": "hi"}', "transcribe", "x.jsonl:1: each line"),
        ("x.jsonl", '{"text": "hi", "translation": " "}', "translate", "x.jsonl:1: each line"),
        ("x.jsonl", '{"prompt": 3, "answer": "3"}', "chat", "x.jsonl:1: each line"),
        ("x.tsv", "a\tb\n1\t2\n", "transcribe", "not a table of Common Voice"),
        ("x.tsv", "path\tsentence\n", "transcribe", "no items"),
        ("x.tsv", "path\tsentence\n", "chat", "--task chat cannot read TSV files"),
    ],
)
def test_other_files_are_refused_in_one_line(tmp_path: Path, name: str, content: str, task: str, reason: str) -> None:
    (tmp_path / name).write_text(content + " " * (not content), encoding="utf-8")
    with pytest.raises(InputError) as refused:
        read_items(tmp_path / name, task)  # type: ignore[arg-type]
    assert reason in str(refused.value)
    assert "\n" not in str(refused.value)
