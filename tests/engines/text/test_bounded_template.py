"""Templates that nobody has checked: rendered as in this process, and within bounds whatever they do."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jinja2 import TemplateError

from gemma_cli.cli import run
from gemma_cli.core.errors import ModelError, TemplateTooCostly
from gemma_cli.engines.local.text import bounded_template, template_worker
from gemma_cli.engines.local.text.bounded_template import KNOWN, BoundedTemplate, open_template
from gemma_cli.engines.local.text.chat_template import ChatTemplate
from gemma_cli.engines.local.text.tokenizer import load_tokenizer
from tests.engines.helpers import tiny

POCKET = Path(__file__).parents[3] / "gemma_cli" / "pocket" / "pocket"
SPECIAL = {"bos_token": "<bos>", "eos_token": "<eos>"}
FILE = Path("some") / "chat_template.jinja"
HI = [{"role": "user", "content": "hi"}]
ENDLESS = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@pytest.fixture(scope="module")
def pairs() -> list[tuple[ChatTemplate, BoundedTemplate]]:
    """The same templates in this process and in one of their own."""
    sources = [(POCKET / "chat_template.jinja").read_text(), tiny.TEMPLATE, "{{ messages | tojson }}{{ tools }}\ud800"]
    return [(ChatTemplate(source, SPECIAL), BoundedTemplate(source, SPECIAL, FILE)) for source in sources]


@given(
    messages=st.lists(
        st.fixed_dictionaries(
            {"role": st.sampled_from(["system", "user", "assistant"]), "content": st.text(max_size=20)},
            optional={"tool_calls": st.lists(json_values, max_size=2), "reasoning": st.text(max_size=5)},
        ),
        max_size=4,
    ),
    tools=st.lists(json_values, max_size=2),
    thinking=st.booleans(),
)
@settings(max_examples=25)
def test_it_writes_and_refuses_what_it_would_in_this_process(
    pairs: list[tuple[ChatTemplate, BoundedTemplate]], messages: Any, tools: Any, thinking: bool
) -> None:
    for here, there in pairs:
        assert there.literals == here.literals
        assert outcome(there, messages, tools, thinking) == outcome(here, messages, tools, thinking)


def outcome(template: ChatTemplate | BoundedTemplate, *conversation: Any) -> tuple[bool, str]:
    try:
        return True, template.render(*conversation)
    except ModelError:
        raise
    except Exception as error:  # whatever jinja2 and Python raise
        return False, f"{error}"[:1000] or type(error).__name__


def test_published_templates_take_no_process() -> None:
    assert type(load_tokenizer(POCKET).template) is ChatTemplate
    source = (POCKET / "chat_template.jinja").read_text()
    assert type(open_template(f"\n{source}\n", SPECIAL, FILE)) is ChatTemplate
    assert type(open_template(source + "{{ 1 }}", SPECIAL, FILE)) is BoundedTemplate
    assert all(len(digest) == len(hashlib.sha256().hexdigest()) for digest in KNOWN)


@pytest.mark.parametrize(
    "source",
    [
        "{{ 'x' * 3000000000 }}",  # jinja computes it while it compiles
        "{{ 'x'.ljust(3000000000) }}",
        "{% set n = namespace(x='a') %}{% for i in range(99) %}{% set n.x = n.x ~ n.x %}{% endfor %}{{ n.x }}",
        "{{ messages[0].content | center(2000000000) }}",
    ],
)
def test_memory_is_bounded(source: str) -> None:
    with pytest.raises(TemplateTooCostly) as caught:
        BoundedTemplate(source, SPECIAL, FILE).render(HI, (), False)
    assert str(caught.value) == (
        f"{FILE}: the chat template needs more than 192 MB of memory; use the chat template of the original model"
    )
    assert caught.value.exit_code == 2


def test_memory_is_bounded_where_the_system_does_not_do_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on macOS and Windows."""
    monkeypatch.setattr(bounded_template, "bounded", lambda: False)
    monkeypatch.setattr(bounded_template, "MEMORY", 64 << 20)
    fine = BoundedTemplate(tiny.TEMPLATE, SPECIAL, FILE)
    assert fine.render(HI, (), False) == ChatTemplate(tiny.TEMPLATE, SPECIAL).render(HI, (), False)
    source = (
        "{% set n = namespace(x=[]) %}{% for i in range(99999) %}{% set n.x = [n.x, 'x' * (i + 99999)] %}{% endfor %}"
    )
    with pytest.raises(TemplateTooCostly, match="needs more than 64 MB"):
        BoundedTemplate(source, SPECIAL, FILE).render(HI, (), False)


def test_processor_time_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded_template, "SECONDS", 0)
    with pytest.raises(TemplateTooCostly, match="needs more than 0 s of processor time"):
        BoundedTemplate(ENDLESS, SPECIAL, FILE).render(HI, (), False)


def test_processor_time_is_counted_from_the_request_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many prompts together may take longer than one may."""
    monkeypatch.setattr(bounded_template, "SECONDS", 0)
    template = BoundedTemplate("{% for a in range(99999) %}{% set b = a %}{% endfor %}done", SPECIAL, FILE)
    assert [template.render(HI, (), False) for _ in range(30)] == ["done"] * 30


def test_all_time_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    template = BoundedTemplate(ENDLESS, SPECIAL, FILE)
    monkeypatch.setattr(bounded_template, "WALL", 0.2)
    with pytest.raises(TemplateTooCostly, match="needs more than 0 s"):
        template.render(HI, (), False)


def test_the_length_of_the_text_is_bounded() -> None:
    template = BoundedTemplate("{{ messages[0].content * 10 }}", SPECIAL, FILE)
    assert len(template.render([{"content": "x" * 9999}], (), False)) == 10 * 9999
    with pytest.raises(TemplateTooCostly, match="writes a prompt of more than 8 MB for this conversation"):
        template.render([{"content": "x" * 1_000_000}], (), False)


def test_a_template_that_is_none_says_why() -> None:
    for source, says in (("{% if %}", "Expected an expression"), ("{% if " * 400, "unexpected"), ("{{ 1 +", "unexp")):
        with pytest.raises(TemplateError, match=says):
            BoundedTemplate(source, SPECIAL, FILE)


@contextlib.contextmanager
def interrupted(after: float) -> Iterator[None]:
    """Ctrl-C after so many seconds."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, after)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_ctrl_c_ends_a_rendering_and_the_next_one_is_right() -> None:
    source = "{% if messages[0].content == 'long' %}" + ENDLESS + "{% else %}{{ messages[0].content }}{% endif %}"
    template = BoundedTemplate(source, SPECIAL, FILE)
    with pytest.raises(KeyboardInterrupt), interrupted(0.2):
        template.render([{"content": "long"}], (), False)
    assert template.render(HI, (), False) == "hi"


def test_a_process_that_was_ended_is_started_again() -> None:
    template = BoundedTemplate("{{ messages[0].content }}", SPECIAL, FILE)
    assert template._worker is not None
    first = template._worker._process
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    assert template.render(HI, (), False) == "hi"
    second = template._worker._process
    assert second.pid != first.pid
    del template
    assert second.returncode is not None


def test_a_process_that_answers_nonsense_is_ended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    nonsense = tmp_path / "worker.py"
    nonsense.write_text("import os, time; os.write(1, b'\\0\\0\\0\\1?'); time.sleep(600)")
    monkeypatch.setattr(template_worker, "__file__", str(nonsense))
    monkeypatch.setattr(bounded_template, "GRACE", 0.1)
    with pytest.raises(TemplateTooCostly, match="ends its own process"):
        BoundedTemplate("", SPECIAL, FILE)


def test_a_process_whose_owner_was_killed_ends() -> None:
    """At once if it waits, after its processor time if it renders."""
    code = (
        "import os, pathlib, signal, threading\nfrom gemma_cli.engines.local.text "
        "import bounded_template as b\nb.SECONDS = 0\none, other = (b.BoundedTemplate(s, "
        f"{{}}, pathlib.Path('x')) for s in ('', {ENDLESS!r}))\nprint(one._worker._process.pid, "
        "other._worker._process.pid, flush=True)\nthreading.Timer(0.2, "
        "os.kill, (os.getpid(), signal.SIGKILL)).start()\nother.render([], (), False)\n"
    )
    owner = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=False)
    assert owner.returncode == -signal.SIGKILL
    deadline = time.monotonic() + 60
    for pid in map(int, owner.stdout.split()):
        while Path(f"/proc/{pid}").exists() and Path(f"/proc/{pid}/cmdline").read_bytes():
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_the_process_imports_little() -> None:
    """It starts in the time that python and jinja2 take."""
    code = (
        f"import runpy, sys; sys.argv = ['', repr(sys.path).replace(chr(39), chr(34)), '0', '9']; "
        f"runpy.run_path({template_worker.__file__!r}, run_name='__main__'); "
        "print(sorted({'torch', 'numpy', 'gemma_cli', 'tokenizers'} & set(sys.modules)), file=sys.stderr)"
    )
    worker = subprocess.run([sys.executable, "-c", code], stdin=subprocess.DEVNULL, capture_output=True, check=True)
    assert worker.stderr.strip() == b"[]"


@pytest.mark.usefixtures("torch_only")
def test_the_command_line_names_the_file(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    folder = tmp_path / "tuned"
    shutil.copytree(POCKET, folder, copy_function=os.link)
    (folder / "chat_template.jinja").unlink()
    (folder / "chat_template.jinja").write_text("{{ 'x' * 3000000000 }}")
    assert run(["chat", "--model", str(folder), "hi"]) == 2
    shown = capfd.readouterr()
    assert shown.out == ""
    *notices, last = shown.err.splitlines()
    assert last.startswith(
        f"gemma: {folder / 'chat_template.jinja'}: the chat template needs more than 192 MB of memory; use"
    )
    assert all("drafter" in notice for notice in notices)
