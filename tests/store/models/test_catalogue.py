from gemma_cli.store.models.catalogue import catalogue


def by_name():
    return {entry.name: entry for entry in catalogue()}


def test_a_bare_machine_lists_what_could_be_had():
    entries = [entry for entry in catalogue() if entry.state != "bundled"]
    assert [entry.alias for entry in entries if entry.kind == "target"] == ["e2b", "e4b", "12b", "26b-a4b", "31b"]
    assert [entry.alias for entry in entries[1::2]] == [f"{entry.alias}-assistant" for entry in entries[::2]]
    assert all(entry.state == "absent" and entry.download and entry.size is None for entry in entries)


def test_what_is_there_is_described(cached):
    cached("google/gemma-4-E2B-it")
    cached("google/gemma-4-E2B-it-assistant", "gemma4_assistant")
    partial = cached("google/gemma-4-E4B-it", shards=3)
    (partial / "model-00003-of-00003.safetensors").unlink()
    cached("me/tuned", "gemma4_unified")
    cached("other/llama", "llama")
    entries = by_name()
    e2b = entries["google/gemma-4-E2B-it"]
    assert (e2b.state, e2b.has_drafter, e2b.kind) == ("cached", True, "target")
    assert e2b.size == sum(file.stat().st_size for file in e2b.folder.iterdir())
    assert entries["google/gemma-4-E2B-it-assistant"].kind == "drafter"
    assert (entries["google/gemma-4-E4B-it"].state, entries["google/gemma-4-E4B-it"].has_drafter) == ("partial", False)
    tuned = entries["me/tuned"]
    assert (tuned.state, tuned.alias, tuned.download, tuned.has_drafter) == ("cached", None, None, False)
    assert "other/llama" not in entries


def test_a_download_that_has_hardly_begun_is_listed(cached):
    folder = cached("google/gemma-4-31B-it-qat-w4a16-ct")
    (folder / "config.json").unlink()
    assert by_name()["google/gemma-4-31B-it-qat-w4a16-ct"].state == "partial"


def test_pocket_comes_first_and_weighs_what_it_weighs(pocket):
    first, second = catalogue()[:2]
    assert (first.name, first.kind, first.state, first.has_drafter) == ("pocket", "target", "bundled", True)
    assert (second.name, second.kind, second.state) == ("pocket-assistant", "drafter", "bundled")
    assert first.size == sum(file.stat().st_size for file in pocket[0].iterdir())
    assert first.download is None
