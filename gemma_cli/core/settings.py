"""The settings: each is declared here once, with its type, range and default, and every way to set it follows.

The command line's options, the environment variables, the keys of config.toml and its presets, /set in a chat,
`gemma config` and the table in docs/configuration.md are all made from SETTINGS.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import get_args

from gemma_cli.core.engine import Dtype, Quantization
from gemma_cli.core.errors import UsageError
from gemma_cli.core.messages import DETAILS, IMAGE_BUDGETS, Drafting, Sampling
from gemma_cli.core.setting import ANSWERS, CHAT, ENGINES, INPUT, MODEL, OUTPUT, SAMPLING, TOOLS, Setting
from gemma_cli.core.setting_kinds import Choice, Number, Switch, Texts, Whole, Words

MAX_DRAFT_TOKENS = 16
ANSWER_TOKENS = Sampling().max_tokens
THOUGHT_TOKENS = 4096
"""Most tokens of a reply with thinking, by default."""
MAX_TOKENS = 1 << 18
"""The longest context any Gemma 4 has."""
MAX_CONCURRENCY = 256
TOOL_TIMEOUT_S = 60.0


def _table(settings: Iterable[Setting]) -> dict[str, Setting]:
    return {setting.name: setting for setting in settings}


SETTINGS = _table(
    (
        Setting(
            "model",
            Words("ID"),
            "Model: pocket, e2b, e4b, 12b, 26b-a4b, 31b, the Hugging Face id of a downloaded model, or a folder.",
            MODEL,
            ENGINES,
            unset="the largest downloaded model that fits in memory",
            flags=("--model", "-m"),
            slash="/model",
        ),
        Setting(
            "engine",
            Words("URL|local"),
            "Use the model of this OpenAI-compatible server: http://HOST:PORT, https://HOST or unix:SOCKET.",
            MODEL,
            ENGINES,
            unset="local (run the model on this machine)",
            parameter="url",
        ),
        Setting(
            "server",
            Switch(),
            "Use the model that your `gemma serve` has already loaded, if the settings are the same.",
            MODEL,
            ENGINES[:-1],
            True,
        ),
        Setting(
            "concurrency",
            Whole(1, MAX_CONCURRENCY, "auto"),
            "With --engine: number of requests that run on the server at the same time.",
            MODEL,
            ("transcribe", "translate", "describe-image"),
            unset="8",
        ),
        Setting(
            "assistant",
            Words("ID|off"),
            "Drafter: a Hugging Face id or a folder; off: no drafter.",
            MODEL,
            ENGINES,
            unset="the drafter made for the model",
        ),
        Setting(
            "device",
            Words("DEVICE"),
            "Device that runs the model: cpu, mps, cuda, or a single GPU by number, for example cuda:1.",
            MODEL,
            ENGINES,
            unset="auto",
        ),
        Setting(
            "dtype",
            Choice(get_args(Dtype)),
            "Data type of the weights and activations.",
            MODEL,
            ENGINES,
            unset="auto",
        ),
        Setting(
            "quantize",
            Choice(get_args(Quantization)),
            "Quantize the weights, which makes the model smaller and faster but slightly less exact.",
            MODEL,
            ENGINES,
            unset="the weights as the checkpoint stores them",
        ),
        Setting(
            "keep-quantized",
            Switch(),
            "Save the quantized weights of a large model on this disk, so that later starts are faster.",
            MODEL,
            ENGINES,
            True,
            flags=("--keep/--no-keep",),
        ),
        Setting(
            "draft-tokens",
            Whole(0, MAX_DRAFT_TOKENS, "auto"),
            "Number of tokens to draft per pass of the model; 0 turns "
            "drafting off. Drafting changes the speed, never the text.",
            MODEL,
            ENGINES,
            unset=f"auto (adapts up to {Drafting().draft_tokens}); gemma bench always drafts {Drafting().draft_tokens}",
            parameter="drafts",
            slash="/set",
        ),
        Setting(
            "seed",
            Whole(0, 2**32 - 1, "random"),
            "Seed for sampling: the same seed gives the same text.",
            SAMPLING,
            ANSWERS,
            unset="random",
            slash="/set",
        ),
        Setting(
            "temperature",
            Number(0, 100),
            "Sampling temperature; 0 always takes the most likely token.",
            SAMPLING,
            ("chat",),
            Sampling().temperature,
            slash="/set",
        ),
        Setting(
            "top-p",
            Number(0, 1),
            "Sample from the smallest set of tokens with at least this total probability; 1: no limit.",
            SAMPLING,
            ANSWERS,
            Sampling().top_p,
            slash="/set",
        ),
        Setting(
            "min-p",
            Number(0, 1),
            "Exclude tokens whose probability is below this fraction of the highest probability; 0: no limit.",
            SAMPLING,
            ANSWERS,
            Sampling().min_p,
            slash="/set",
        ),
        Setting(
            "top-k",
            Whole(0, MAX_TOKENS),
            "Sample only from the N most likely tokens; 0: no limit.",
            SAMPLING,
            ANSWERS,
            Sampling().top_k,
            slash="/set",
        ),
        Setting(
            "max-tokens",
            Whole(1, MAX_TOKENS, "auto"),
            "End the reply after this many tokens.",
            SAMPLING,
            ANSWERS,
            unset=f"auto ({ANSWER_TOKENS} tokens, or {THOUGHT_TOKENS} tokens with --think)",
            slash="/set",
        ),
        Setting(
            "thinking-budget",
            Whole(0, MAX_TOKENS),
            "With --think: maximum number of tokens for thinking; 0: no limit.",
            SAMPLING,
            ("chat",),
            0,
            slash="/set",
        ),
        Setting(
            "system",
            Words("TEXT|@FILE"),
            "System prompt; @FILE reads the system prompt from a file.",
            INPUT,
            ("chat",),
            unset="none",
            flags=("--system", "-s"),
            slash="/system",
            files=True,
        ),
        Setting("think", Switch(), "Let the model think before it answers.", INPUT, ("chat",), False, slash="/think"),
        Setting(
            "show-thinking",
            Switch(),
            "Show the model's thoughts in full, or hide the thoughts.",
            INPUT,
            ("chat",),
            unset="one line per thought on a terminal, full thoughts on stderr elsewhere",
            flags=("--show-thinking/--hide-thinking",),
        ),
        Setting(
            "summarize",
            Switch(),
            "When the context is full: replace the oldest messages with a summary, or leave out the oldest messages.",
            CHAT,
            ("chat",),
            False,
            flags=("--summarize/--leave-out",),
            slash="/compact",
        ),
        Setting(
            "save",
            Switch(),
            "Save the chat (or the single answer) and the input history on this disk.",
            CHAT,
            ("chat",),
            unset="save chats, but save single answers only with -c or --session",
        ),
        Setting(
            "tool",
            Texts("FILE:NAME"),
            "Let the model call this Python function, written as module.py:function; repeatable.",
            TOOLS,
            ("chat",),
            unset="none",
            environment=False,
            files=True,
        ),
        Setting(
            "mcp",
            Texts("CONFIG"),
            'Let the model call the tools of the MCP servers in this JSON file, {"mcpServers": {...}}; repeatable.',
            TOOLS,
            ("chat",),
            unset="none",
            environment=False,
            files=True,
        ),
        Setting(
            "allow-tool",
            Texts("NAME|all"),
            "Run this tool without asking you first; repeatable. Without "
            "a terminal, gemma runs only the tools that this option names.",
            TOOLS,
            ("chat",),
            unset="none",
            environment=False,
        ),
        Setting(
            "tool-timeout",
            Number(0.1, 86_400),
            "Stop a tool call after this many seconds. Ctrl-C also stops a tool call.",
            TOOLS,
            ("chat",),
            TOOL_TIMEOUT_S,
        ),
        Setting(
            "detail",
            Whole(IMAGE_BUDGETS[0], IMAGE_BUDGETS[-1], "auto", IMAGE_BUDGETS, DETAILS),
            "Maximum number of tokens per picture: 70 (low) is enough for a caption, 1120 (max) for small print.",
            INPUT,
            ("describe-image",),
            unset="the number that the model's configuration gives",
        ),
        Setting(
            "language",
            Words("LANGUAGE"),
            "Language of the recording, as a name or a code.",
            INPUT,
            ("transcribe",),
            unset="auto (the model detects the language)",
            flags=("--language", "-l"),
        ),
        Setting(
            "to",
            Words("LANGUAGE"),
            "Language to translate into, as a name or a code, for example German or de.",
            INPUT,
            ("translate",),
            unset="none (a target language is required)",
        ),
        Setting(
            "stats",
            Switch(),
            "Afterwards, print the speed and the share of accepted drafts on stderr.",
            OUTPUT,
            ENGINES[:-1],
            False,
            flags=("--stats/--no-stats",),
        ),
        Setting(
            "quiet",
            Switch(),
            "Do not print notices or progress on stderr.",
            OUTPUT,
            ENGINES,
            False,
            flags=("--quiet/--no-quiet", "-q"),
        ),
    )
)


def setting_named(name: str, among: Iterable[str] = SETTINGS) -> Setting:
    """The setting of this name. Raises UsageError with the nearest there is."""
    known = list(among)
    wanted = name.replace("_", "-")
    if wanted in known:
        return SETTINGS[wanted]
    near = [each for each in known if each.startswith(wanted)] or difflib.get_close_matches(wanted, known, 1)
    raise UsageError(
        f"no setting is named '{name}': " + (f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}")
    )
