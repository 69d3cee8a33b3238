"""Against a hub of our own on the loopback interface: the real client, no network."""

import _thread
import hashlib
import json
import os
import re
import signal
import ssl
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import httpx2
import pytest
from huggingface_hub.utils import WeakFileLock
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gemma_cli.core.errors import GemmaError, UsageError
from gemma_cli.store.models import download, hub, hub_client, offline
from gemma_cli.store.models.catalogue import catalogue
from gemma_cli.store.models.checkpoints import resolve
from gemma_cli.store.models.download import pull
from gemma_cli.store.models.hub_client import HubClient, HubError, Progress
from gemma_cli.store.models.removal import remove
from tests.soak.files import downloads
from tests.store.models.fake_hub import COMMIT, Fault, serving

huggingface_hub = pytest.importorskip("huggingface_hub")
TLS = ssl.create_default_context()  # read once: a tenth of a second each time
E2B = "google/gemma-4-E2B-it"
WEIGHTS = b"".join(hashlib.sha256(b"%d" % block).digest() for block in range(3200))  # 100 kB, no part like another
BIG = "model.safetensors"
FILES = {
    "config.json": b'{"model_type": "gemma4"}',
    BIG: WEIGHTS,
    "chat_template.jinja": b"{{ x }}",
    "pytorch_model.bin": b"pickle",
    "modeling_gemma.py": b"code",
    "original/model.safetensors": b"again",
}


@pytest.fixture
def server(monkeypatch):
    with serving() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.address)
        monkeypatch.setenv("no_proxy", "*")
        monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
        monkeypatch.setattr(hub_client, "BACKOFF_S", 0.001)
        monkeypatch.setattr(ssl, "create_default_context", lambda **_: TLS)
        yield hub


def blob(content=WEIGHTS):
    """Where huggingface_hub would put the weights of me/tuned."""
    return hub.repository("me/tuned") / "blobs" / hashlib.sha256(content).hexdigest()


def leave(content):
    """A partial download of me/tuned with that content."""
    path = blob().with_name(blob().name + ".incomplete")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def whole(folder):
    return (folder / BIG).read_bytes() == WEIGHTS and not list(folder.parents[1].glob("blobs/*.incomplete"))


def test_a_release_comes_with_its_drafter_and_can_be_run(server):
    server.repositories = {E2B: FILES, f"{E2B}-assistant": FILES}
    target, drafter = pull("e2b")
    found = resolve("e2b")
    assert (found.folder, found.assistant_folder) == (target, drafter)
    assert whole(target)
    assert whole(drafter)


def test_only_weights_and_text_of_the_top_folder_are_fetched(server):
    server.repositories = {"me/tuned": FILES}
    (folder,) = pull("me/tuned")
    assert {path.name for path in folder.iterdir()} == {"config.json", "model.safetensors", "chat_template.jinja"}


def test_what_is_there_is_not_fetched_again(server):
    server.repositories = {"me/tuned": FILES}
    pull("me/tuned")
    server.ranges.clear()
    pull("me/tuned")
    assert not server.ranges


def test_a_model_the_hub_does_not_know(server):
    with pytest.raises(UsageError, match="me/nothing is not on the Hugging Face Hub"):
        pull("me/nothing")


def test_a_gated_model_says_where_to_accept(server):
    server.repositories, server.refuse = {"me/gated": FILES}, {"me/gated": (403, "GatedRepo")}
    with pytest.raises(
        GemmaError,
        match=r"me/gated requires a licence agreement: accept the licence at https://huggingface\.co/me/gated",
    ):
        pull("me/gated")


def test_a_token_is_sent_only_where_it_is_needed(server, monkeypatch):
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: "hf_secret")
    server.repositories = {"me/open": FILES, "me/gated": FILES}
    server.refuse = {"me/gated": (403, "GatedRepo")}
    pull("me/open")
    assert {authorization for _, _, authorization in server.asked} == {None}
    pull("me/gated")
    assert resolve("me/gated").name == "me/gated"


def test_no_network(server, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(
        GemmaError, match=r"E2B-it was not downloaded completely: .*refused.*; to continue, run"
    ) as caught:
        pull("e2b")
    assert "\n" not in str(caught.value)


def test_a_partial_copy_is_not_taken_for_the_whole_when_the_hub_is_away(server, cached, monkeypatch):
    folder = cached("me/tuned")
    (folder / "model.safetensors").unlink()
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(GemmaError, match="was not downloaded completely"):
        pull("me/tuned")


def test_a_disk_too_small_is_refused_before_the_first_byte(server, monkeypatch):
    server.repositories = {"me/tuned": FILES}
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: SimpleNamespace(free=5000))
    with pytest.raises(GemmaError, match=r"me/tuned needs .* left"):
        pull("me/tuned")
    assert not server.ranges


def test_the_disk_need_not_hold_again_what_is_there(server, monkeypatch):
    server.repositories = {"me/tuned": FILES}
    leave(WEIGHTS[:99_000])
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: SimpleNamespace(free=5000))
    assert whole(pull("me/tuned")[0])


def test_a_release_is_refused_where_its_drafter_does_not_fit(server, monkeypatch):
    server.repositories = {E2B: FILES, f"{E2B}-assistant": FILES}
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: SimpleNamespace(free=150_000))
    with pytest.raises(GemmaError, match="with its drafter needs"):
        pull("e2b")
    assert not server.ranges


def test_a_repository_without_safetensors(server):
    server.repositories = {"me/pickled": {"config.json": b"{}", "pytorch_model.bin": b"pickle"}}
    with pytest.raises(GemmaError, match="no complete checkpoint in safetensors"):
        pull("me/pickled")


@pytest.mark.parametrize(
    ("name", "complaint"), [("pocket", "cannot be downloaded"), ("e3b", "not a model"), ("", "not a model")]
)
def test_names_that_cannot_be_fetched(name, complaint):
    with pytest.raises(UsageError, match=complaint):
        pull(name)


def test_files_are_where_huggingface_hub_expects_them(server, home):
    server.repositories = {"me/tuned": FILES}
    (folder,) = pull("me/tuned")
    cache = home / "cache" / "huggingface" / "hub"
    found = huggingface_hub.try_to_load_from_cache("me/tuned", "config.json", cache_dir=cache)
    assert Path(found) == folder / "config.json"
    scanned = huggingface_hub.scan_cache_dir(cache)
    assert not scanned.warnings
    (revision,) = next(iter(scanned.repos)).revisions
    assert {(file.file_name, file.blob_path.name) for file in revision.files} >= {(BIG, blob().name)}
    # The library's own download finds them all, and asks for no file again.
    server.ranges.clear()
    again = huggingface_hub.snapshot_download("me/tuned", revision=COMMIT, cache_dir=cache, local_files_only=True)
    assert Path(again) == folder


@pytest.mark.parametrize(
    ("there", "range_"),
    [(b"", None), (WEIGHTS[:1], "bytes=1-"), (WEIGHTS[:-1], f"bytes={len(WEIGHTS) - 1}-"), (WEIGHTS + b"x", None)],
    ids=["empty", "one byte", "all but one", "too long"],
)
def test_a_pull_continues_inside_a_file(server, there, range_):
    server.repositories = {"me/tuned": FILES}
    leave(there)
    assert whole(pull("me/tuned")[0])
    assert [asked for path, asked in server.ranges if path.endswith(BIG)] == [range_]


def test_a_partial_file_that_is_complete_is_not_fetched(server):
    server.repositories = {"me/tuned": FILES}
    leave(WEIGHTS)
    assert whole(pull("me/tuned")[0])
    assert not [path for path in server.fetched() if path.endswith(BIG)]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=25)
@given(
    st.binary(max_size=3000),
    st.lists(
        st.one_of(
            st.builds(Fault, cut=st.integers(0, 3000), ranged=st.booleans(), shift=st.integers(-2, 2)),
            st.builds(Fault, status=st.sampled_from((408, 416, 429, 500, 503))),
            st.builds(Fault, length=st.sampled_from((None, 1, 5000)), flip=st.none()),
            st.builds(Fault, headers=st.just({"Content-Encoding": "gzip"})),
        ),
        max_size=5,
    ),
    st.integers(0, 4000),
)
def test_whatever_fails_on_the_way_the_file_is_right_in_the_end(server, content, faults, there):
    """A partial file of any length and right content, five failures of any kind in any order."""
    server.repositories = {"me/tuned": {"config.json": b"{}", BIG: content}}
    server.faults = {BIG: [f for f in faults if f.shift == 0 or there + f.shift > 0]}
    path = blob(content)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_name(path.name + ".incomplete").write_bytes(content[:there])
    (folder,) = pull("me/tuned")
    assert (folder / BIG).read_bytes() == content
    remove("me/tuned")


def test_nothing_is_fetched_twice_when_connections_break(server):
    server.repositories = {"me/tuned": FILES}
    server.faults = {BIG: [Fault(cut=7000)] * 12}
    assert whole(pull("me/tuned")[0])
    assert server.sent <= len(WEIGHTS) + 100
    starts = [int(asked[6:-1]) if asked else 0 for path, asked in server.ranges if path.endswith(BIG)]
    assert starts == sorted(set(starts))


def test_a_server_that_ignores_ranges_does_not_undo_what_is_there(server):
    server.repositories = {"me/tuned": FILES}
    server.faults = {BIG: [Fault(ranged=False, cut=500)] * 3 + [Fault(ranged=False, cut=60_000)]}
    leave(WEIGHTS[:50_000])
    assert whole(pull("me/tuned")[0])
    assert [asked for path, asked in server.ranges if path.endswith(BIG)][-1] == "bytes=60000-"


@pytest.mark.parametrize("fault", [Fault(shift=1), Fault(shift=-1), Fault(status=416)])
def test_a_server_that_cannot_continue_is_asked_for_everything(server, fault):
    """What it sends first is skipped, and what was there stays: nothing but those bytes comes twice."""
    server.repositories = {"me/tuned": FILES}
    server.faults = {BIG: [fault]}
    leave(WEIGHTS[:50_000])
    assert whole(pull("me/tuned")[0])
    assert [asked for path, asked in server.ranges if path.endswith(BIG)] == ["bytes=50000-", None]


def test_a_file_is_on_the_disk_before_it_gets_its_name(server, monkeypatch):
    server.repositories = {"me/tuned": FILES}
    synced = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append((os.fstat(descriptor).st_size, blob().exists())))
    pull("me/tuned")
    assert (len(WEIGHTS), False) in synced


@pytest.mark.parametrize("where", [0, 50_000, len(WEIGHTS) - 1])
def test_a_byte_that_is_changed_on_the_way_is_noticed(server, where):
    server.repositories = {"me/tuned": FILES}
    server.faults = {BIG: [Fault(flip=where)]}
    assert whole(pull("me/tuned")[0])
    server.faults = {BIG: [Fault(flip=where)] * 2}
    remove("me/tuned")
    with pytest.raises(GemmaError, match="was damaged in two downloads"):
        pull("me/tuned")
    assert not blob().exists()
    assert not hub.find("me/tuned").complete


@pytest.mark.parametrize("file", ["config.json", "chat_template.jinja"])
def test_small_files_are_compared_with_their_git_digest(server, file):
    server.repositories = {"me/tuned": FILES}
    server.faults = {file: [Fault(flip=1)] * 2}
    with pytest.raises(GemmaError, match="was damaged in two downloads"):
        pull("me/tuned")
    assert (pull("me/tuned")[0] / file).read_bytes() == FILES[file]


def test_a_partial_file_of_something_else_is_given_up(server):
    server.repositories = {"me/tuned": FILES}
    leave(bytes(40_000))
    assert whole(pull("me/tuned")[0])


def test_a_blob_of_the_wrong_size_is_fetched_again(server):
    server.repositories = {"me/tuned": FILES}
    (folder,) = pull("me/tuned")
    blob().write_bytes(WEIGHTS[:-1])
    assert whole(pull("me/tuned")[0])
    assert whole(folder)


def test_what_huggingface_hub_left_behind_is_removed(server):
    server.repositories = {"me/tuned": FILES}
    stale, fresh = (blob().with_name(f"{blob().name}.{name}.incomplete") for name in ("0badcafe", "c0ffee00"))
    leave(b"")
    for path in (stale, fresh):
        path.write_bytes(b"x" * 1000)
    os.utime(stale, (time.time() - 7200,) * 2)
    pull("me/tuned")
    assert not stale.exists()
    assert fresh.exists()  # its writer may be alive on a file system without locks


def test_a_stalled_connection_is_resumed(server, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.1)
    server.repositories = {"me/tuned": FILES}
    server.faults = {BIG: [Fault(cut=30_000, stall=True)]}
    assert whole(pull("me/tuned")[0])
    assert [asked for path, asked in server.ranges if path.endswith(BIG)] == [None, "bytes=30000-"]


@pytest.mark.parametrize(
    ("file", "fault", "reason"),
    [
        ("", Fault(status=500), "the Hub answered 500"),
        ("", Fault(status=418), "the Hub answered 418"),
        ("", Fault(body=b"[1]"), "list of files from the Hub cannot be read"),
        ("", Fault(body=b"{" * 100_000), "list of files from the Hub cannot be read"),
        ("", Fault(body=b"<html>", headers={"Content-Type": "text/html"}), "sent a web page instead"),
        ("", Fault(status=302, headers={"Location": "ftp://127.0.0.1/a"}), "less secure"),
        (
            "",
            Fault(status=429, headers={"Retry-After": "9000"}),
            "answered 429, and the server asks for a pause of 150 minutes",
        ),
        (
            BIG,
            Fault(body=b"<html>", headers={"Content-Type": "text/html; charset=utf-8"}),
            "sent a web page instead",
        ),
        (BIG, Fault(body=b"short"), "the size of model.safetensors on the server differs"),
        (BIG, Fault(status=503), "the Hub answered 503"),
        (BIG, Fault(status=404), "the Hub lists model.safetensors, but the file is missing"),
        (BIG, Fault(cut=0), "the connection broke|peer closed"),
        (BIG, Fault(headers={"Content-Encoding": "gzip"}), "compressed"),
    ],
)
def test_what_does_not_pass_ends_in_one_line(server, file, fault, reason):
    server.repositories = {"me/tuned": FILES}
    server.faults = {file: [fault] * 20}
    with pytest.raises(
        GemmaError,
        match=rf"^me/tuned was not downloaded completely: .*({reason}).*; to continue, run the same command " "again$",
    ):
        pull("me/tuned")
    assert len(server.asked) < 12
    server.faults = {}
    assert whole(pull("me/tuned")[0])


def test_a_pause_that_the_hub_asks_for_is_kept(server):
    server.repositories = {"me/tuned": FILES}
    server.faults = {BIG: [Fault(status=429, headers={"Retry-After": "1"})]}
    began = time.monotonic()
    assert whole(pull("me/tuned")[0])
    assert time.monotonic() - began >= 1.0


@pytest.mark.parametrize(
    "entry",
    [
        {"rfilename": BIG, "size": 5, "blobId": "../../../../etc/passwd"},
        {"rfilename": BIG, "size": -1, "blobId": "0" * 40},
        {"rfilename": BIG, "size": 5, "lfs": {"size": "5", "sha256": "0" * 64}},
        {"rfilename": BIG, "size": 5},
        {"rfilename": BIG, "size": 5, "blobId": 7},
        {"rfilename": BIG, "size": 5, "lfs": [1]},
        {"rfilename": 5, "size": 5, "blobId": "0" * 40},
        "model.safetensors",
    ],
)
def test_a_listing_that_lies_writes_nothing(server, entry, home):
    server.repositories = {"me/tuned": FILES}
    server.faults = {"": [Fault(body=json.dumps({"sha": COMMIT, "siblings": [entry]}).encode())]}
    with pytest.raises(GemmaError, match="list of files from the Hub cannot be read"):
        pull("me/tuned")
    assert not (home / "cache").exists()


def test_names_and_commits_do_not_leave_the_folder(server, home):
    digest = hashlib.sha1(b"blob 1\0x").hexdigest()
    names = ["config.json", BIG, "../up.json", "a/../../up.json", "..\\up.json", "/etc/up.json", "nul\0.json"]
    siblings = [{"rfilename": name, "size": 1, "blobId": digest} for name in names]
    server.repositories = {"me/tuned": dict.fromkeys(names, b"x")}
    for commit in ("../../up", "main", "", 5):
        server.faults = {"": [Fault(body=json.dumps({"sha": commit, "siblings": siblings}).encode())]}
        with pytest.raises(GemmaError, match="list of files from the Hub cannot be read"):
            pull("me/tuned")
    server.faults = {"": [Fault(body=json.dumps({"sha": COMMIT, "siblings": siblings}).encode())]}
    (folder,) = pull("me/tuned")
    assert {path.name for path in folder.iterdir()} == {"config.json", BIG}
    assert not list(home.rglob("*up.json"))


def test_a_token_never_reaches_another_host(server, monkeypatch):
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: "hf_secret")
    server.repositories, server.refuse = {"me/tuned": FILES}, {"me/tuned": (401, "GatedRepo")}
    with serving() as other:
        other.repositories, server.cdn = server.repositories, other.address
        assert whole(pull("me/tuned")[0])
        assert other.asked
        assert {authorization for _, _, authorization in other.asked} == {None}
        assert {authorization for _, _, authorization in server.asked} == {None, "Bearer hf_secret"}
    # A redirect within the hub, which is how it renames repositories, keeps it.
    server.cdn = ""
    server.faults = {"": [Fault(status=307, headers={"Location": "/api/models/me/new?blobs=true"})]}
    server.repositories["me/new"] = FILES
    server.refuse["me/new"] = (401, "GatedRepo")
    remove("me/tuned")
    assert whole(pull("me/tuned")[0])


@pytest.mark.parametrize(
    ("target", "sent"),
    [
        ("https://hub.example/other", "Bearer hf_secret"),
        ("/other", "Bearer hf_secret"),
        ("https://hub.example:444/other", None),
        ("https://cdn.example/other", None),
        ("https://hub.example.evil.example/other", None),
        ("http://hub.example/other", "refused"),
        ("http://cdn.example/other", "refused"),
        ("file:///etc/passwd", "refused"),
    ],
)
def test_redirects_of_an_encrypted_hub(monkeypatch, target, sent):
    monkeypatch.setenv("HF_ENDPOINT", "https://hub.example")
    asked = []

    def answer(request):
        asked.append(request)
        first = len(asked) == 1
        return httpx2.Response(302 if first else 200, headers={"Location": target} if first else {}, content=b"x")

    client = HubClient(Progress())
    client._client = httpx2.Client(transport=httpx2.MockTransport(answer))
    client.token = "hf_secret"
    if sent == "refused":
        with pytest.raises(HubError, match="less secure"), client.get("https://hub.example/file"):
            pass
        assert len(asked) == 1
    else:
        with client.get("https://hub.example/file") as response:
            assert response.read() == b"x"
        assert [request.headers.get("Authorization") for request in asked] == ["Bearer hf_secret", sent]


def test_a_token_that_cannot_be_sent_is_not_shown(server, monkeypatch):
    server.repositories, server.refuse = {"me/tuned": FILES}, {"me/tuned": (401, "GatedRepo")}
    for token in ("hf_secret\nx", "hf_secretü"):
        monkeypatch.setattr(huggingface_hub, "get_token", lambda token=token: token)
        with pytest.raises(GemmaError, match="correct HF_TOKEN") as caught:
            pull("me/tuned")
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize("endpoint", ["huggingface.co", "ftp://huggingface.co", "http://", "http://a:b"])
def test_an_endpoint_that_is_no_address(server, monkeypatch, endpoint):
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    with pytest.raises(GemmaError, match="HF_ENDPOINT"):
        pull("me/tuned")


def test_offline_is_honoured(server, monkeypatch):
    server.repositories = {"me/tuned": FILES}
    monkeypatch.setattr(offline, "_set_here", False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UsageError, match="HF_HUB_OFFLINE forbids downloads"):
        pull("me/tuned")
    monkeypatch.delenv("HF_HUB_OFFLINE")
    offline.keep_libraries_offline()  # as every command does
    assert os.environ["HF_HUB_OFFLINE"] == "1"
    (folder,) = pull("me/tuned")
    monkeypatch.setenv("TRANSFORMERS_OFFLINE", "yes")
    server.asked.clear()
    assert pull("me/tuned") == [folder]
    with pytest.raises(UsageError, match="TRANSFORMERS_OFFLINE forbids downloads"):
        pull("me/other")
    assert not server.asked


def test_ctrl_c_stops_at_once_and_the_next_pull_continues(server):
    server.repositories = {"me/tuned": FILES}
    server.faults = {BIG: [Fault(cut=40_000, stall=True)]}
    progress, pressed = Progress(), []

    def interrupt():
        while progress.there < 40_000:
            time.sleep(0.005)
        pressed.append(time.monotonic())
        _thread.interrupt_main()

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        pull("me/tuned", progress)
    assert time.monotonic() - pressed[0] < 1.0
    server.released.set()  # ends the stalled connection, and with it the lock
    assert whole(pull("me/tuned")[0])
    assert "bytes=40000-" in [asked for _, asked in server.ranges]


def test_nothing_is_fetched_any_more_after_ctrl_c(server):
    server.repositories = {"me/tuned": FILES}
    server.rate = 100_000
    progress = Progress()

    def interrupt():
        while progress.there < 20_000:
            time.sleep(0.005)
        _thread.interrupt_main()

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        pull("me/tuned", progress)
    server.rate = 0
    with WeakFileLock(
        hub.repository("me/tuned").parent / ".locks/models--me--tuned" / f"{blob().name}.lock", timeout=5
    ):
        assert 20_000 <= blob().with_name(f"{blob().name}.incomplete").stat().st_size < len(WEIGHTS)


def test_ctrl_c_ends_the_command_with_a_line_about_how_to_continue(server, tmp_path):
    server.repositories = {"me/big": FILES}
    server.faults = {BIG: [Fault(cut=40_000, stall=True)]}
    process = downloads.pull(server, tmp_path)
    while [path.stat().st_size for path in tmp_path.rglob("*.incomplete")] != [40_000]:
        time.sleep(0.01)
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert re.fullmatch(
        r"gemma: the download stopped after \d.* of 102.4 kB; to continue: gemma models pull me/big\n", error.decode()
    )
    assert [path.stat().st_size for path in tmp_path.rglob("*.incomplete")] == [40_000]


def test_two_pulls_at_once_fetch_everything_once(server):
    server.repositories = {"me/tuned": FILES}
    server.rate = 400_000
    folders = []
    threads = [threading.Thread(target=lambda: folders.extend(pull("me/tuned"))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(folders) == 3
    assert whole(folders[0])
    assert sorted(server.fetched()) == sorted(set(server.fetched()))


def test_a_file_that_is_linked_again_is_there_all_the_time(tmp_path):
    """Another pull may be looking whether its checkpoint is complete."""
    blob, pointer = tmp_path / "blob", tmp_path / "config.json"
    blob.write_text("{}")
    download._link(blob, pointer)
    again = threading.Thread(target=lambda: [download._link(blob, pointer) for _ in range(2000)])
    again.start()
    while again.is_alive():
        assert pointer.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["blob", "config.json"]


def test_a_pull_waits_for_the_lock_that_huggingface_hub_takes(server):
    server.repositories = {"me/tuned": FILES}
    lock = hub.repository("me/tuned").parent / ".locks" / "models--me--tuned" / f"{blob().name}.lock"
    lock.parent.mkdir(parents=True)
    progress = Progress()
    with WeakFileLock(lock):
        thread = threading.Thread(target=lambda: pull("me/tuned", progress))
        thread.start()
        while "another process" not in progress.doing:
            time.sleep(0.01)
        assert not [path for path in server.fetched() if path.endswith(BIG)]
    thread.join()
    assert whole(hub.find("me/tuned").folder)


def test_an_interrupted_update_leaves_the_old_commit_in_use(server, cached):
    old = cached("me/tuned")
    server.repositories = {"me/tuned": FILES}
    server.faults = {BIG: [Fault(status=404)]}
    with pytest.raises(GemmaError):
        pull("me/tuned")
    assert resolve("me/tuned").folder == old
    (new,) = pull("me/tuned")
    assert resolve("me/tuned").folder == new != old


def entry(name):
    return next(found for found in catalogue() if found.name == name)


def test_unfinished_downloads_are_counted_and_can_be_removed(server):
    server.repositories = {E2B: FILES, f"{E2B}-assistant": FILES}
    server.faults = {BIG: [Fault(cut=30_000), *[Fault(status=500)] * 6]}
    with pytest.raises(GemmaError):
        pull("e2b")
    found = entry(E2B)
    assert (found.state, found.unfinished) == ("partial", 30_000)
    assert remove("e2b", unfinished=True) == 30_000
    assert entry(E2B).unfinished == 0
    pull("e2b")
    (blobs,) = {path.parent for path in hub.repository(E2B).glob("blobs/*")}
    (blobs / "0123.abcd.incomplete").write_bytes(b"12345")
    assert (entry(E2B).state, entry(E2B).unfinished) == ("cached", 5)
    total = sum(len(FILES[name]) for name in ("config.json", BIG, "chat_template.jinja"))
    assert remove("e2b") == 2 * (total + len(COMMIT)) + 5
    assert entry(E2B).state == entry(f"{E2B}-assistant").state == "absent"
    with pytest.raises(UsageError, match="e2b is not on this machine"):
        remove("e2b")


def test_a_checkpoint_is_not_removed_while_it_is_fetched(server):
    server.repositories = {"me/tuned": FILES}
    (folder,) = pull("me/tuned")
    lock = next((hub.repository("me/tuned").parent / ".locks").rglob("*.lock"))
    with WeakFileLock(lock), pytest.raises(GemmaError, match="is being downloaded"):
        remove("me/tuned")
    assert whole(folder)
