import csv
import io
import json
import shutil
import sys

import pytest
from PIL import Image


def lines(outcome):
    return [json.loads(line) for line in outcome.out.splitlines()]


def test_a_folder_is_described_in_order_with_one_load_and_the_bad_ones_named(gemma, engine, photos, tmp_path):
    (tmp_path / "photos" / "2b.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(50))
    (tmp_path / "photos" / "notes.txt").write_text("no picture")
    done = gemma("describe-image", "photos", "--format", "jsonl")
    assert done.code == 1
    assert done.err == (
        "gemma: 1 of 7 files failed: photos/2b.png: not a picture in a supported format "
        "(PNG, JPEG, WEBP, GIF, BMP, TIFF, AVIF); convert the picture to PNG\n"
    )
    assert {told["file"]: told["text"] for told in lines(done)} == photos
    assert [told["file"] for told in lines(done)] == sorted(photos)
    first = Image.open(tmp_path / "photos" / "0.png")
    assert {k: v for k, v in lines(done)[0].items() if k not in ("file", "text")} == {
        "page": None, "width": first.width, "height": first.height, "orientation": 1, "frames": None, "detail": 70,
        "soft_tokens": engine.asked and lines(done)[0]["soft_tokens"], "same_as": None,
    }  # fmt: skip
    assert all(0 < told["soft_tokens"] <= 70 for told in lines(done))
    assert engine.opened == 1


def test_a_file_that_takes_an_extra_stops_no_other(gemma, photos, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    (tmp_path / "photos" / "2b.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(40))
    done = gemma("describe-image", "photos", "--format", "jsonl")
    assert (done.code, len(lines(done))) == (1, 6)
    assert "1 of 7 files failed: photos/2b.heic: HEIC pictures need" in done.err
    assert "gemma-cli[pictures]" in done.err


def test_the_same_words_alone_and_with_others(gemma, photos):
    together = {told["file"]: told["text"] for told in lines(gemma("describe-image", "photos", "--format", "jsonl"))}
    assert {name: gemma("describe-image", name).out.strip() for name in list(photos)[:3]}.items() <= together.items()


def test_files_are_written_skipped_and_replaced(gemma, engine, photos, tmp_path):
    done = gemma("describe-image", "photos", "-o", "texts", "-f", "txt", "-f", "json")
    assert (done.code, done.out, done.err) == (0, "", "gemma: described 6 files\n")
    assert (tmp_path / "texts" / "more" / "5.txt").read_text() == photos["photos/more/5.png"] + "\n"
    assert json.loads((tmp_path / "texts" / "0.json").read_text())["text"] == photos["photos/0.png"]
    gemma("describe-image", "photos", "-o", "texts").refuses("exists", "--skip-existing", "--overwrite")
    (tmp_path / "texts" / "3.txt").write_text("mine\n")
    (tmp_path / "texts" / "2.txt").unlink()
    asked = len(engine.asked)
    assert gemma("describe-image", "photos", "-o", "texts", "--skip-existing").err == "gemma: described 1 file\n"
    assert len(engine.asked) == asked + 1
    assert (tmp_path / "texts" / "3.txt").read_text() == "mine\n"
    gemma("describe-image", "photos/3.png", "-o", "texts", "--overwrite")
    assert (tmp_path / "texts" / "3.txt").read_text() == photos["photos/3.png"] + "\n"


def test_alternative_texts_lie_beside_their_pictures(gemma, photos, tmp_path):
    done = gemma("describe-image", "photos/*.png", "--write-alt")
    assert (done.code, done.out) == (0, "")
    assert (tmp_path / "photos" / "1.png.alt.txt").read_text() == photos["photos/1.png"] + "\n"
    gemma("describe-image", "photos/1.png", "--write-alt").refuses(
        "1.png.alt.txt: the output file already exists", "--overwrite"
    )


def test_a_copy_has_the_description_in_its_metadata(gemma, photos, tmp_path):
    original = (tmp_path / "photos" / "1.png").read_bytes()
    assert gemma("describe-image", "photos/1.png", "-o", "copies", "--write-metadata").code == 0
    assert (tmp_path / "photos" / "1.png").read_bytes() == original
    copy = Image.open(tmp_path / "copies" / "1.png")
    assert photos["photos/1.png"] in copy.info["xmp"].decode()
    assert list(copy.getdata()) == list(Image.open(tmp_path / "photos" / "1.png").getdata())
    gemma("describe-image", "photos/1.png", "-o", "photos", "--write-metadata").refuses(
        "1.png: the copy would replace the original"
    )
    gemma("describe-image", "photos/1.png", "--write-metadata").refuses("with -o DIR")


def test_what_was_finished_before_a_stop_is_not_described_again(gemma, engine, photos):
    whole = gemma("describe-image", "photos", "--format", "jsonl").out
    engine.asked.clear()
    engine.most = 3
    stopped = gemma("describe-image", "photos", "--format", "jsonl", "--detail", "low")
    assert (stopped.code, len(engine.asked)) == (130, 6)
    assert "6 files: interrupted; to continue, run the same command again" in stopped.err
    engine.asked.clear()
    engine.most = 10_000
    done = gemma("describe-image", "photos", "--format", "jsonl", "--detail", "low")
    assert done.out == whole
    assert done.err == "gemma: 6 files: continuing an interrupted run, of which 3 descriptions are done\n"
    assert len(engine.asked) == 3
    engine.asked.clear()
    assert gemma("describe-image", "photos", "--format", "jsonl", "--detail", "low").out == whole
    assert len(engine.asked) == 6, "a finished run leaves nothing behind"


def test_the_same_pixels_are_asked_about_once(gemma, engine, photos, tmp_path):
    shutil.copy(tmp_path / "photos" / "0.png", tmp_path / "photos" / "copy.png")
    told = lines(gemma("describe-image", "photos", "--dedupe", "--format", "jsonl"))
    assert len(engine.asked) == 6
    copy = next(one for one in told if one["file"] == "photos/copy.png")
    assert (copy["same_as"], copy["text"]) == ("photos/0.png", photos["photos/0.png"])


def test_several_pictures_in_one_question(gemma, engine, photos):
    told = lines(gemma("describe-image", "photos/0.png", "photos/1.png", "--together", "--json"))[0]
    assert [one["file"] for one in told["files"]] == ["photos/0.png", "photos/1.png"]
    (asked,) = engine.asked
    assert [part.name for part in asked.messages[0].parts[:2]] == ["photos/0.png", "photos/1.png"]
    assert asked.messages[0].text == "Describe these images."
    gemma("describe-image", "photos/0.png", "--together", "-o", "x").refuses("--together prints one description")


def test_the_wishes_are_in_the_question_and_answers_are_greedy(gemma, engine, photos):
    gemma("describe-image", "photos/0.png", "--length", "short", "--language", "de", "--detail", "high")
    (asked,) = engine.asked
    assert asked.messages[0].text == "Describe this image. Answer in one short sentence. Answer in German."
    assert (asked.image_budget, asked.sampling.temperature, asked.sampling.seed) == (560, 0.0, 0)
    gemma("describe-image", "photos/0.png", "--length", "medium").refuses("--length medium", "normal")
    gemma("describe-image", "photos/0.png", "--detail", "huge").refuses("--detail", "max")


def test_tables_and_pages_escape_what_is_special_in_them(gemma, photos, tmp_path):
    odd = tmp_path / 'a,b "c" [d] <e>.png'
    shutil.copy(tmp_path / "photos" / "0.png", odd)
    rows = list(csv.DictReader(io.StringIO(gemma("describe-image", odd.name, "--format", "csv").out)))
    assert [(row["file"], row["text"], row["page"]) for row in rows] == [(odd.name, photos["photos/0.png"], "")]
    page = gemma("describe-image", odd.name, "--format", "md").out
    assert f'![{photos["photos/0.png"]}](<a,b "c" [d] %3Ce%3E.png>)' in page
    gemma("describe-image", "photos", "--format", "json").refuses("--format json is for a single input", "jsonl")
    gemma("describe-image", "photos", "--format", "xml").refuses("--format xml", "csv")


def test_pages_and_animations(gemma, photos, tmp_path):
    pages = [Image.open(tmp_path / "photos" / f"{n}.png") for n in (0, 1)]
    pages[0].save(tmp_path / "scan.tiff", save_all=True, append_images=pages[1:])
    frames = [page.resize((256, 256)) for page in pages]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:], duration=1000)
    told = lines(gemma("describe-image", "scan.tiff", "moving.gif", "--format", "jsonl"))
    assert [(one["page"], one["text"]) for one in told[:2]] == [
        (1, photos["photos/0.png"]),
        (2, photos["photos/1.png"]),
    ]
    assert told[2]["frames"] is None
    moving = lines(gemma("describe-image", "moving.gif", "--frames", "--json"))[0]
    assert (moving["frames"], moving["soft_tokens"]) == (10, 640)


@pytest.mark.parametrize("form", ["jsonl", "txt"])
def test_a_schema_holds_every_description(gemma, engine, photos, tmp_path, form):
    (tmp_path / "schema.json").write_text('{"type": "object", "properties": {"shapes": {"enum": [1, 2]}}, '
                                          '"required": ["shapes"], "additionalProperties": false}')  # fmt: skip
    done = gemma("describe-image", "photos/0.png", "photos/1.png", "--schema", "schema.json", "--format", form)
    found = [told["data"] for told in lines(done)] if form == "jsonl" else map(json.loads, done.out.splitlines()[1::2])
    assert all(data["shapes"] in (1, 2) for data in found)
    gemma("describe-image", "photos/0.png", "--schema", "nothere.json").refuses("nothere.json")
