import subprocess
import sys

import pytest

from gemma_cli.core.errors import GemmaError, UsageError
from gemma_cli.store.models import checkpoints, machine
from gemma_cli.store.models.checkpoints import NotOnDisk, Resolved, resolve
from gemma_cli.store.paths import config_file

E2B, E4B, LARGE = "google/gemma-4-E2B-it", "google/gemma-4-E4B-it", "google/gemma-4-31B-it"


def configure(text):
    config_file().parent.mkdir(parents=True, exist_ok=True)
    config_file().write_text(text)


def test_a_bare_machine_runs_pocket_and_says_so(pocket):
    found = resolve()
    assert (found.name, found.folder) == ("pocket", pocket[0])
    assert (found.assistant_name, found.assistant_folder) == ("pocket-assistant", pocket[1])
    assert "pocket" in found.notice
    assert "gemma models pull e2b" in found.notice
    assert "10.2 GB" in found.notice


def test_pocket_by_name_needs_no_notice(pocket):
    assert resolve("pocket") == Resolved("pocket", pocket[0], "pocket-assistant", pocket[1])


def test_a_package_without_pocket_says_so(checkpoint, monkeypatch, tmp_path):
    monkeypatch.setattr(checkpoints, "BUNDLED", tmp_path / "pocket")
    with pytest.raises(GemmaError, match="pocket is missing in this installation"):
        resolve()


def test_given_over_environment_over_configuration_over_cache(checkpoint, cached, monkeypatch):
    for name in ("given", "environment", "configuration"):
        checkpoint(name)
        checkpoint(f"{name}-assistant")
    base = config_file().parents[2]
    cached(E2B)
    assert resolve().name == E2B
    configure(f'model = "{base}/configuration"')
    assert resolve().folder.name == "configuration"
    monkeypatch.setenv("GEMMA_MODEL", f"{base}/environment")
    assert resolve().folder.name == "environment"
    assert resolve(f"{base}/given").folder.name == "given"
    assert resolve(f"{base}/given").assistant_folder.name == "given-assistant"
    assert resolve(f"{base}/given").notice is None
    monkeypatch.setenv("GEMMA_MODEL", "")
    assert resolve().folder.name == "configuration"


@pytest.mark.parametrize(("memory", "best"), [(12, E2B), (18, E4B), (24, E4B), (128, LARGE), (8, "pocket")])
def test_the_ablest_cached_release_that_fits_is_chosen(pocket, cached, monkeypatch, memory, best):
    for name in (E4B, LARGE, E2B, "someone/gemma-4-E4B-tuned"):
        cached(name)
    monkeypatch.setattr(machine, "memory", lambda: memory * 10**9)
    found = resolve()
    assert found.name == best
    assert best in found.notice


def test_an_unfinished_download_is_not_chosen_and_says_what_to_do(pocket, cached):
    folder = cached(E2B, shards=3)
    (folder / "model-00002-of-00003.safetensors").unlink()
    assert resolve().name == "pocket"
    with pytest.raises(NotOnDisk, match=r"only partly downloaded; gemma models pull e2b.*10\.2 GB"):
        resolve("e2b")


def test_a_broken_link_is_an_unfinished_download(cached):
    folder = cached(E2B)
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").symlink_to("../../blobs/none")
    with pytest.raises(NotOnDisk, match="only partly"):
        resolve("e2b")


@pytest.mark.parametrize("name", ["e2b", "E2B", E2B, E2B.lower(), f" {E2B} "])
def test_aliases_and_hub_ids_in_any_case(cached, name):
    folder = cached(E2B)
    drafter = cached(f"{E2B}-assistant", "gemma4_assistant")
    assert resolve(name) == Resolved(E2B, folder, f"{E2B}-assistant", drafter)


@pytest.mark.parametrize(
    ("variable", "below"), [("HF_HUB_CACHE", "."), ("HUGGINGFACE_HUB_CACHE", "."), ("HF_HOME", "hub")]
)
def test_the_cache_is_where_huggingface_hub_has_it(home, monkeypatch, cached, variable, below):
    cached(E2B)
    (home / "elsewhere").mkdir()
    (home / "cache/huggingface/hub").rename(home / "elsewhere" / below if below != "." else home / "other")
    monkeypatch.setenv(variable, str(home / "elsewhere" if below != "." else home / "other"))
    assert resolve("e2b").name == E2B


def test_the_revision_is_that_of_main(cached):
    cached(E2B, commit="0ld")
    new = cached(E2B, commit="new")
    cached(E2B, commit="0lder")
    (new.parents[1] / "refs" / "main").write_text("new\n")
    assert resolve("e2b").folder == new


def test_a_tuned_model_of_someone_else(cached):
    folder = cached("me/tuned")
    found = resolve("me/tuned")
    assert (found.name, found.folder, found.assistant_name) == ("me/tuned", folder, None)
    assert "me/tuned has no drafter" in found.notice


def test_a_checkpoint_in_four_bits_has_the_drafter_of_its_unquantized_form(cached):
    four, wide = f"{E2B}-qat-w4a16-ct", f"{E2B}-qat-q4_0-unquantized"
    folder = cached(four)
    notice = resolve(four).notice
    assert f"{four} has no drafter on this machine" in notice
    assert "gemma models pull e2b-assistant" in notice
    plain = cached(f"{E2B}-assistant", "gemma4_assistant")
    assert resolve(four) == Resolved(four, folder, f"{E2B}-assistant", plain)
    trained = cached(f"{wide}-assistant", "gemma4_assistant")
    assert resolve(four) == Resolved(four, folder, f"{wide}-assistant", trained)
    cached(wide)
    assert resolve(wide).assistant_folder == trained


def test_without_its_drafter_a_model_runs_and_says_how_to_get_it(cached):
    cached(E4B)
    found = resolve("e4b")
    assert (found.assistant_name, found.assistant_folder) == (None, None)
    assert "gemma models pull e4b-assistant" in found.notice


def test_a_drafter_that_was_asked_for_must_be_there(cached):
    cached(E4B)
    with pytest.raises(NotOnDisk, match=f"{E4B}-assistant is not on this machine"):
        resolve("e4b", "e4b-assistant")


def test_no_drafter(cached, pocket):
    cached(E4B)
    cached(f"{E4B}-assistant")
    assert resolve("e4b", "off").assistant_folder is None
    assert resolve("e4b", "off").notice is None
    configure('assistant = "off"')
    assert resolve("e4b").assistant_folder is None
    assert resolve("e4b", "e4b-assistant").assistant_name == f"{E4B}-assistant"


def test_the_configured_drafter_belongs_to_the_configured_model(cached, checkpoint):
    mine = checkpoint("mine")
    cached(E2B)
    cached(E4B)
    configure(f'model = "e2b"\nassistant = "{mine}"')
    assert resolve().assistant_folder == mine
    assert resolve("e4b").assistant_folder is None


def test_local_folders(checkpoint, monkeypatch, tmp_path):
    folder, drafter = checkpoint("mine"), checkpoint("mine-assistant")
    found = resolve(str(folder))
    assert (found.name, found.folder, found.assistant_folder) == (str(folder), folder, drafter)
    assert resolve(f"{folder}/").assistant_folder == drafter
    monkeypatch.chdir(folder)
    assert resolve(".").assistant_folder == drafter
    monkeypatch.setenv("HOME", str(tmp_path))
    assert resolve("~/mine").folder == folder
    assert (
        resolve(str(drafter)).notice
        == f"{drafter} has no drafter ({drafter}-assistant does not exist), so gemma decodes without drafts"
    )


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("e3b", "did you mean e[24]b"),
        ("gemma-4-e2b", "did you mean e2b"),
        ("gemma4:31b", "did you mean 31b"),
        ("nonsense", "give a folder, a Hugging Face id, or one of pocket, e2b"),
        ("./nowhere", "the folder does not exist"),
        ("~nobody-of-that-name/x", "the folder does not exist"),
        ("x" * 10_000, "unknown model"),
        ("a/" + "x" * 10_000, "unknown model"),
        ("a\0b", "unknown model"),
        ("a/b/c", "unknown model"),
        ("-x", "unknown model"),
    ],
)
def test_a_name_that_means_nothing(name, complaint):
    with pytest.raises(UsageError, match=complaint) as caught:
        resolve(name)
    assert "\n" not in str(caught.value)


def test_folders_and_files_that_are_no_checkpoints(tmp_path):
    with pytest.raises(UsageError, match=r"not a checkpoint.*config\.json"):
        resolve(str(tmp_path))
    (tmp_path / "model.gguf").touch()
    with pytest.raises(UsageError, match=r"model\.gguf: a file, not a checkpoint; give a folder"):
        resolve(str(tmp_path / "model.gguf"))


def test_a_model_that_is_not_here_is_named_with_its_size():
    with pytest.raises(
        NotOnDisk, match=r"google/gemma-4-31B-it is not on this machine; gemma models pull 31b.*62\.6 GB"
    ) as caught:
        resolve("31b")
    assert (caught.value.name, caught.value.size) == (LARGE, 62_600_000_000)
    with pytest.raises(NotOnDisk, match=r"gemma models pull me/tuned fetches it$") as caught:
        resolve("me/tuned")
    assert caught.value.size is None


def test_synthetic_models_are_left_to_the_engine():
    assert resolve("synthetic:e2b") == Resolved("synthetic:e2b", None)


@pytest.mark.parametrize("damage", ["", "[]", "{", '{"weight_map": 3}', '{"weight_map": {"a": ["b"]}}', "\x00\xff"])
def test_a_damaged_index_is_not_a_checkpoint(cached, damage):
    folder = cached(E2B, shards=2)
    (folder / "model.safetensors.index.json").write_bytes(damage.encode("latin-1"))
    with pytest.raises(NotOnDisk):
        resolve("e2b")


def test_choosing_imports_nothing_heavy():
    code = (
        "import sys, gemma_cli.store.models.catalogue, gemma_cli.store.models.checkpoints as c\n"
        "print(sorted({'torch', 'transformers', 'huggingface_hub', 'numpy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
