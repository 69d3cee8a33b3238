"""Against a hub of our own on the loopback interface: the real client, no network."""

import hashlib
import http.server
import json
import re
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from gemma_cli.core.errors import GemmaError, UsageError
from gemma_cli.store import download
from gemma_cli.store.checkpoints import resolve
from gemma_cli.store.download import pull

huggingface_hub = pytest.importorskip("huggingface_hub")
E2B = "google/gemma-4-E2B-it"
SHA = "5" * 40
FILES = {
    "config.json": b'{"model_type": "gemma4"}',
    "model.safetensors": b"weights" * 1000,
    "chat_template.jinja": b"{{ x }}",
    "pytorch_model.bin": b"pickle",
    "modeling_gemma.py": b"code",
    "original/model.safetensors": b"again",
}


class Hub(http.server.ThreadingHTTPServer):
    """repositories: name -> files. refuse: name -> status and error code. asked: (method, path, authorization)."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.repositories = {}
        self.refuse = {}
        self.asked = []


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def do_GET(self):
        self.server.asked.append((self.command, self.path, self.headers.get("Authorization")))
        path = self.path.split("?")[0]
        found = re.match(r"(?:/api/models)?/([^/]+/[^/]+)(.*)", path)
        name, rest = found.groups()
        if name in self.server.refuse and not self.headers.get("Authorization"):
            status, code = self.server.refuse[name]
            return self.answer(status, b"{}", {"X-Error-Code": code, "X-Error-Message": "refused"})
        if name not in self.server.repositories:
            return self.answer(404, b"{}", {"X-Error-Code": "RepoNotFound"})
        files = self.server.repositories[name]
        if rest.startswith("/resolve/"):
            content = files[rest.split("/", 3)[3]]
            etag = hashlib.sha256(content).hexdigest()
            return self.answer(200, content, {"ETag": f'"{etag}"', "X-Repo-Commit": SHA, "Accept-Ranges": "bytes"})
        if rest.startswith("/tree/"):
            rows = [{"type": "file", "path": path, "size": len(data), "oid": "0" * 40} for path, data in files.items()]
            return self.answer(200, json.dumps(rows).encode(), {"Content-Type": "application/json"})
        siblings = [{"rfilename": path, "size": len(data)} for path, data in files.items()]
        body = {"id": name, "modelId": name, "sha": SHA, "siblings": siblings, "private": False, "tags": []}
        return self.answer(200, json.dumps(body).encode(), {"Content-Type": "application/json"})

    do_HEAD = do_GET

    def answer(self, status, body, headers):
        self.send_response(status)
        for key, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    hub = Hub()
    thread = threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{hub.server_port}")
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)  # as the command line leaves it
    yield hub
    hub.shutdown()
    thread.join()
    hub.server_close()


def test_a_release_comes_with_its_drafter_and_can_be_run(server):
    server.repositories = {E2B: FILES, f"{E2B}-assistant": FILES}
    target, drafter = pull("e2b")
    found = resolve("e2b")
    assert (found.folder, found.assistant_folder) == (target, drafter)
    assert (target / "model.safetensors").read_bytes() == FILES["model.safetensors"]
    assert huggingface_hub.constants.HF_HUB_OFFLINE


def test_only_weights_and_text_of_the_top_folder_are_fetched(server):
    server.repositories = {"me/tuned": FILES}
    (folder,) = pull("me/tuned")
    assert {path.name for path in folder.iterdir()} == {"config.json", "model.safetensors", "chat_template.jinja"}


def test_what_is_there_is_not_fetched_again(server):
    server.repositories = {"me/tuned": FILES}
    pull("me/tuned")
    server.asked.clear()
    pull("me/tuned")
    assert not [path for method, path, _ in server.asked if method == "GET" and "/resolve/" in path]


def test_a_model_the_hub_does_not_know(server):
    with pytest.raises(UsageError, match="me/nothing is not on the Hugging Face Hub"):
        pull("me/nothing")


def test_a_gated_model_says_where_to_accept(server):
    server.repositories, server.refuse = {"me/gated": FILES}, {"me/gated": (403, "GatedRepo")}
    with pytest.raises(GemmaError, match=r"gated: accept its licence at https://huggingface\.co/me/gated"):
        pull("me/gated")


def test_a_token_is_sent_only_where_it_is_needed(server, monkeypatch):
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: "hf_secret")
    server.repositories = {"me/open": FILES, "me/gated": FILES}
    server.refuse = {"me/gated": (403, "GatedRepo")}
    pull("me/open")
    assert {authorization for _, _, authorization in server.asked} == {None}
    pull("me/gated")
    assert resolve("me/gated").name == "me/gated"


def test_a_hub_in_trouble(server):
    server.repositories, server.refuse = {"me/tuned": FILES}, {"me/tuned": (500, "")}
    with pytest.raises(GemmaError, match=r"me/tuned: the Hub answered 500; pull again") as caught:
        pull("me/tuned")
    assert "\n" not in str(caught.value)


def test_no_network(server, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(GemmaError, match=r"e2b|E2B.*was not fetched: .*refused.*; pull again") as caught:
        pull("e2b")
    assert "\n" not in str(caught.value)


def test_a_partial_copy_is_not_taken_for_the_whole_when_the_hub_is_away(server, cached, monkeypatch):
    folder = cached("me/tuned")
    (folder / "model.safetensors").unlink()
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(GemmaError, match="was not fetched"):
        pull("me/tuned")


def test_a_disk_too_small_is_refused_before_the_first_byte(server, monkeypatch):
    server.repositories = {"me/tuned": FILES}
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: SimpleNamespace(free=5000))
    with pytest.raises(GemmaError, match=r"me/tuned needs .* left"):
        pull("me/tuned")
    assert not [path for _, path, _ in server.asked if "/resolve/" in path]


def test_a_repository_without_safetensors(server):
    server.repositories = {"me/pickled": {"config.json": b"{}", "pytorch_model.bin": b"pickle"}}
    with pytest.raises(GemmaError, match="no complete checkpoint in safetensors"):
        pull("me/pickled")


@pytest.mark.parametrize(
    ("name", "complaint"), [("pocket", "nothing to fetch"), ("e3b", "cannot be"), ("", "cannot be")]
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
