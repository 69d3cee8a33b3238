"""Counters of drafts as servers write them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gemma_cli.engines.remote.metrics import DraftCounters, read_counters

VLLM = """\
# HELP vllm:spec_decode_num_drafts_total Number of spec decoding drafts.
# TYPE vllm:spec_decode_num_drafts_total counter
vllm:spec_decode_num_drafts_total{engine="0",model_name="pocket"} 10.0
vllm:spec_decode_num_drafts_total{engine="1",model_name="pocket"} 2.0
vllm:spec_decode_num_draft_tokens_total{engine="0",model_name="pocket"} 48.0
vllm:spec_decode_num_accepted_tokens_total{engine="0",model_name="pocket"} 3e1 1700000000000
vllm:spec_decode_num_accepted_tokens_per_pos_total{engine="0",model_name="pocket",position="0"} 12.0
vllm:spec_decode_num_drafts_created{engine="0",model_name="pocket"} NaN
"""


def test_labels_are_summed_over() -> None:
    assert read_counters(VLLM, "vllm:") == DraftCounters(12, 48, 30)
    assert read_counters(VLLM.replace("_total", ""), "vllm:") == DraftCounters(12, 48, 30)
    assert read_counters(VLLM, "other_") is None
    assert read_counters(VLLM.replace("draft_tokens", "x"), "vllm:") is None


def test_counters_are_added_and_taken_from_each_other() -> None:
    assert DraftCounters(3, 12, 7) - DraftCounters(1, 4, 2) + DraftCounters(1, 1, 1) == DraftCounters(3, 9, 6)


@given(st.text(alphabet='vllm:spec_decode_num_drafts_total{}=",0123456789. \n\x00é', max_size=200))
def test_any_text_is_read(text: str) -> None:
    read_counters(VLLM + text, "vllm:")
