"""`gemma chat`: one question from the command line or a pipe, or a conversation on the terminal."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from gemma_cli.commands.chat_parts.answer import AnswerOptions, AnswerOutput, ReplyLimits, errors_told, form, held
from gemma_cli.commands.chat_parts.attachments import AttachOptions, questioned, read_piped, report_mentioned
from gemma_cli.commands.chat_parts.tools import ToolOptions, desk, opened
from gemma_cli.common.command_line.setting_options import option
from gemma_cli.common.notices import notice
from gemma_cli.common.opening import start
from gemma_cli.common.options import EngineOptions, OutputOptions, SamplingOptions, examples, given, grouped
from gemma_cli.common.replies import complete, draw, listen
from gemma_cli.common.text_input import checked_encoding, system_prompt
from gemma_cli.core import fitting, summaries
from gemma_cli.core.conversation import Conversation
from gemma_cli.core.engine import Engine
from gemma_cli.core.errors import UsageError
from gemma_cli.core.events import Speculation, Turn
from gemma_cli.core.messages import Request, ToolResponse
from gemma_cli.core.setting import CHAT as CHATS
from gemma_cli.repl.settings import Settings
from gemma_cli.tools import Toolbox
from gemma_cli.tools.calls import ToolRounds, Unfinished
from gemma_cli.views import json

if TYPE_CHECKING:
    from gemma_cli.commands.chat_parts.receipt import WantedAnswer
    from gemma_cli.repl.saved_chat import SavedChat

EXAMPLES = examples(
    "gemma chat",
    'gemma chat "Why is the sky blue?" --model e4b --think',
    'git diff | gemma chat "Write a commit message." > message.txt',
    'gemma chat --image chart.png "Which year was the best?"',
    'gemma chat -a report.pdf -a chart.png "Does the chart show what the report says?"',
    'curl -s https://example.org/cat.webp | gemma chat "What is in this picture?"',
    "gemma chat --image chart.png --audio question.wav",
    'gemma chat -f notes.md -f plan.md "What is missing?" --json',
    'gemma chat -f mail.txt "Who writes, and when?" --schema who-and-when.json',
    "gemma chat 'What is 123 + 456?' --tool tools.py:add --allow-tool add",
    'gemma chat "Count from 1 to 10." --json > reply.json; gemma chat "Count from 1 to 10." --receipt reply.json',
    'gemma chat --continue "And in German?"',
    "gemma chat --session holiday",
)

SHOWN: dict[bool | None, Literal["folded", "full", "hidden"]] = {None: "folded", True: "full", False: "hidden"}

app = typer.Typer(add_completion=False)


@app.command(epilog=EXAMPLES)
@grouped
def chat(
    context: typer.Context,
    engine: EngineOptions,
    sampling: SamplingOptions,
    output: OutputOptions,
    tools: ToolOptions,
    answers: AnswerOptions,
    attachments: AttachOptions,
    prompt: Annotated[
        str | None,
        typer.Argument(
            metavar="PROMPT", help="Answer this prompt and exit. Without a PROMPT, an interactive chat starts."
        ),
    ] = None,
    system: Annotated[str | None, *option("system")] = None,
    think: Annotated[bool, *option("think")] = False,
    show_thinking: Annotated[bool | None, *option("show-thinking")] = None,
    go_on: Annotated[
        bool, typer.Option("--continue", "-c", help="Continue the latest chat.", rich_help_panel=CHATS)
    ] = False,
    session: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Continue the chat with this name, or start a new chat with this name.",
            rich_help_panel=CHATS,
        ),
    ] = None,
    save: Annotated[bool | None, *option("save")] = None,
) -> None:
    """Chat with the model. With a PROMPT or piped text, the model answers once and gemma exits."""
    piped = "" if attachments.takes_stdin else read_piped(checked_encoding(attachments.encoding))
    once = prompt is not None or piped is not None
    answers.check(output, once)
    attachments.check(piped, once)
    if once:
        check_partners(context, think, bool(tools.tool or tools.mcp))
    with errors_told(answers), opened(tools, output) as box:
        attached = attachments.read(output.quiet)
        if piped is not None and not isinstance(piped, str):
            attached, piped = [*attached, piped], ""
        question = questioned((piped, prompt), attached) if once else ""
        if once and prompt and not output.quiet:
            report_mentioned(prompt)
        from gemma_cli.repl.saved_chat import kept

        keeping = kept(go_on, session, save is not False, begin=bool(save) or not once)
        conversation = keeping.conversation.instructed(system_prompt(system)) if system else keeping.conversation
        for part in attached:
            conversation = conversation.staging(part)
        conversation = replace(conversation, tools=box.declarations)
        on_terminal = sys.stdout.isatty()
        wanted = None
        if answers.receipt is not None:
            from gemma_cli.commands.chat_parts.receipt import wanted_answer

            wanted = wanted_answer(answers.receipt, context)
            engine, think = wanted.engine(engine), wanted.thinking
            answers = replace(answers, thinking_budget=wanted.thinking_budget or 0)
        settings = Settings(
            wanted.sampling if wanted else sampling.sampling(think),
            engine.drafting(),
            think,
            thoughts=SHOWN[show_thinking] if on_terminal else "hidden",
            raw=not on_terminal,
            thinking_budget=answers.thinking_budget or None,
            summarize=answers.summarize,
        )
        if not once:
            from gemma_cli.repl.app import talk

            talk(engine, output, keeping, conversation, settings, box, attachments.reader)
            return
        holding, told = held(answers), form(answers, output, show_thinking, settings.sampling.seed)
        last = ask(engine, output, keeping, conversation.saying(question), settings, holding, told, box, wanted)
    complete(last)
    holding.complete(last)


def check_partners(context: typer.Context, think: bool, with_tools: bool) -> None:
    """Raises UsageError for an option that would do nothing in a single answer, as another is missing."""
    partners = {
        "thinking_budget": (think, "--thinking-budget limits the model's thoughts: give --think too"),
        "show_thinking": (think, "--show-thinking shows the model's thoughts: give --think too"),
        "tool_timeout": (with_tools, "--tool-timeout limits the time of tool calls: give --tool or --mcp too"),
        "summarize": (
            context.params["go_on"] or context.params["session"],
            "--summarize shortens a saved chat: give --continue or --session too",
        ),
    }
    for name in given(context, *partners):
        there, complaint = partners[name]
        if not there:
            raise UsageError(complaint)


def ask(
    engine: EngineOptions,
    output: OutputOptions,
    keeping: SavedChat,
    asked: Conversation,
    settings: Settings,
    holding: ReplyLimits,
    told: AnswerOutput,
    box: Toolbox,
    wanted: WantedAnswer | None = None,
) -> Turn:
    """Return the last of the replies to one question; all are shown, and saved if they belong to a chat."""
    from gemma_cli.repl.saved_chat import ChatSaver, remembering

    model, spec = remembering(start(engine, output), keeping), engine.spec()
    differences = wanted.differences(model.info, spec) if wanted else []
    told.begin(model.info)
    drawn = replace(output, as_json=False, quiet=output.quiet or holding.schema is not None)
    saved, rounds = ChatSaver(keeping), ToolRounds(desk(box, model.info.context, output))
    requests: list[Request] = []
    turns: list[Turn] = []
    responses: list[tuple[ToolResponse, ...]] = []

    def outcome() -> dict[str, Any]:
        from gemma_cli.common.receipts import receipt_of

        answer = json.exchange_object(turns, responses, model.info, requests[0])
        passes = Speculation([passed for turn in turns for passed in turn.speculation.rounds])
        return answer | {"receipt": receipt_of(model.info, spec).of(requests[0], passes, answer["text"])}

    try:
        while True:
            asked = fitted(asked, model, settings)
            request = asked.request(settings.sampling, settings.drafting, settings.thinking)
            requests.append(holding(request))
            if wanted and not turns:
                wanted.check_prompt(requests[0])
            turns.append(draw(model, requests[-1], drawn, told.show))
            asked = asked.hearing(turns[-1], model.info.model)
            saved(asked)
            if not (answered := rounds.answers(turns[-1])):
                break
            responses.append(answered)
            for response in answered:
                told.responded(response)
            asked = asked.answering(answered)
            saved(asked)
            rounds.check(turns[-1])
    except Unfinished:
        told.unfinished(outcome)
        raise
    told.end(outcome)
    if wanted:
        wanted.check_text("\n".join(turn.text for turn in turns if turn.text), differences, output.quiet)
    return turns[-1]


def fitted(asked: Conversation, model: Engine, settings: Settings) -> Conversation:
    """Return as much of a chat as the model has room for, with a summary of the rest if that is set.

    What is missing is reported. A first message is not measured.
    """
    if not asked.entries[1:]:
        return asked
    asked = asked.counted_by(model.info.model)
    space = fitting.space(model, settings.sampling, settings.thinking)
    if settings.summarize:
        kept = summaries.fitted(asked, model.info.model, space, settings.drafting, lambda each: listen(model, each))
    else:
        kept = fitting.fitted(asked, space)
    if kept.shown_from > asked.shown_from:
        what = f"are summarized: {' '.join(kept.summary.split())}" if kept.summary else "are left out"
        notice(f"the context is full: the oldest {kept.shown_from} messages {what}")
    return kept
