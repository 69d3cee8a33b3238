"""The template renders Gemma 4's current small format, and training labels what the model is to say, no more."""

import pytest

from training.data import dialogue, task_mix
from training.tokenizer import render

THINK = "<bos><|turn>system\n<|think|>\n"


@pytest.mark.parametrize(
    ("messages", "variables", "rendered"),
    [
        ([{"role": "user", "content": " hi "}], {}, "<bos><|turn>user\nhi<turn|>\n<|turn>model\n"),
        (
            [{"role": "user", "content": "hi"}],
            {"enable_thinking": True},
            THINK + "<turn|>\n<|turn>user\nhi<turn|>\n<|turn>model\n",
        ),
        (
            [{"role": "system", "content": "S"}, {"role": "user", "content": "hi"}],
            {"enable_thinking": True},
            THINK + "S<turn|>\n<|turn>user\nhi<turn|>\n<|turn>model\n",
        ),
        (
            [
                {
                    "role": "user",
                    "content": [{"type": "image"}, {"type": "audio"}, {"type": "video"}, {"type": "text", "text": "T"}],
                }
            ],
            {},
            "<bos><|turn>user\n<|image|><|audio|><|video|>T<turn|>\n<|turn>model\n",
        ),
        (
            [
                {"role": "user", "content": "a"},
                {"role": "assistant", "content": "<|channel>thought\nhm\n<channel|>b"},
                {"role": "user", "content": "a"},
            ],
            {},
            "<bos><|turn>user\na<turn|>\n<|turn>model\nb<turn|>\n<|turn>user\na<turn|>\n<|turn>model\n",
        ),
    ],
)
def test_turns(messages: list[dict], variables: dict, rendered: str) -> None:
    assert render(messages, add_generation_prompt=True, **variables) == rendered


def test_a_tool_is_declared_called_and_answered() -> None:
    call = {"id": "1", "function": {"name": "add", "arguments": {"b": 4, "a": 3}}}
    messages = [{"role": "user", "content": "3 + 4?"}, {"role": "assistant", "content": "", "tool_calls": [call]}]
    text = render(messages, tools=[dialogue.ADD], add_generation_prompt=True)
    assert text == (
        '<bos><|turn>system\n<|tool>declaration:add{description:<|"|>Add two numbers.<|"|>,parameters:{properties:{'
        'a:{description:<|"|>First.<|"|>,type:<|"|>INTEGER<|"|>},b:{description:<|"|>Second.<|"|>,type:<|"|>INTEGER<|"|>}},'
        'required:[<|"|>a<|"|>,<|"|>b<|"|>],type:<|"|>OBJECT<|"|>}}<tool|><turn|>\n'
        "<|turn>user\n3 + 4?<turn|>\n<|turn>model\n<|tool_call>call:add{a:3,b:4}<tool_call|><|tool_response>"
    )
    messages += [{"role": "tool", "tool_call_id": "1", "content": "7"}]
    answered = render(messages, tools=[dialogue.ADD], add_generation_prompt=True)
    assert answered.endswith('<tool_call|><|tool_response>response:add{value:<|"|>7<|"|>}<tool_response|>')
    thinking = render(messages, tools=[dialogue.ADD], add_generation_prompt=True, enable_thinking=True)
    assert thinking.endswith("<tool_response|><|channel>thought\n")


def test_arguments_must_be_an_object() -> None:
    call = {"function": {"name": "add", "arguments": '{"a": 3}'}}
    with pytest.raises(ValueError, match="object"):
        render([{"role": "user", "content": "x"}, {"role": "assistant", "tool_calls": [call]}])


@pytest.fixture(scope="module")
def encoder():
    from pathlib import Path

    from training import tokenizer
    from training.stages import packing

    folder = Path(__file__).parents[2] / "gemma_cli" / "pocket" / "pocket"
    if not (folder / "tokenizer.json").exists():
        pytest.skip("the pocket tokenizer has not been exported")
    return packing.Encoder(tokenizer.load(folder))


def said(encoder, example) -> str:
    ids = [token for token, wanted in zip(example.ids, example.wanted, strict=True) if wanted]
    return encoder.tokenizer.decode(ids, skip_special_tokens=False)


def test_what_the_model_says_is_wanted_and_nothing_else(encoder) -> None:
    thought = [{"role": "user", "content": "2 + 3"}, {"role": "assistant", "content": "5", "reasoning": "2 + 3 = 5."}]
    example = encoder.exchange(task_mix.Exchange("sums", thought, thinking=True))
    assert said(encoder, example) == "<|channel>thought\n2 + 3 = 5.\n<channel|>5<turn|>"

    call = {"id": "1", "function": {"name": "now", "arguments": {}}}
    tool = [
        {"role": "user", "content": "What time is it?"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": "14:05"},
        {"role": "assistant", "content": "It is 14:05."},
    ]
    example = encoder.exchange(task_mix.Exchange("tool", tool, tools=[dialogue.NOW]))
    assert said(encoder, example) == "<|tool_call>call:now{}<tool_call|><|tool_response>It is 14:05.<turn|>"


def test_packed_rows_compute_what_single_examples_do(encoder) -> None:
    """Shared prefixes and block masks change nothing: the same hidden states as one unpadded example at a time."""
    import torch

    from training import shapes
    from training.stages import decoder_pass, packing

    model = shapes.new_target(encoder.ids).eval()
    generator = torch.Generator().manual_seed(0)
    sounds = [torch.randn(n, shapes.HIDDEN, generator=generator) for n in (9, 14)]
    examples = [
        encoder.media("heard", "audio", "Transcribe this.", word, s) for word, s in zip("ab", sounds, strict=True)
    ]
    rows = packing.Rows(96, encoder.ids, window=8)
    rows.add(examples, 1, shared=True)
    packed = rows.batch()
    assert packed.ids.ne(encoder.ids["<pad>"]).sum() < sum(len(e.ids) for e in examples), "the prefix is shared"
    with torch.no_grad():
        together = decoder_pass.hidden_states(model, packed).last_hidden_state.flatten(0, 1)[packed.predictors]
        apart = []
        for example in examples:
            single = packing.Rows(len(example.ids), encoder.ids, window=8)
            single.add([example], 1)
            batch = single.batch()
            apart.append(decoder_pass.hidden_states(model, batch).last_hidden_state.flatten(0, 1)[batch.predictors])
    torch.testing.assert_close(together, torch.cat(apart), rtol=1e-4, atol=1e-4)
