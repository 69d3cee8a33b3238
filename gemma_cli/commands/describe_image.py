"""`gemma describe-image`: what is in a picture."""

from __future__ import annotations

from functools import cache
from typing import Annotated

import typer

from gemma_cli.common.batch import Batch
from gemma_cli.common.notices import heading
from gemma_cli.common.opening import start
from gemma_cli.common.options import EngineOptions, OutputOptions, SamplingOptions, examples, grouped
from gemma_cli.common.replies import answer_view, complete, draw
from gemma_cli.common.setting_options import option
from gemma_cli.core.engine import Engine
from gemma_cli.core.errors import UsageError
from gemma_cli.core.messages import Request, ask

PROMPT = "Describe this image."

EXAMPLES = examples(
    "gemma describe-image photo.jpg",
    'gemma describe-image receipt.png --prompt "What is the total?" --detail 1120',
    "curl -s https://example.org/cat.webp | gemma describe-image -",
    "gemma describe-image *.png --json | jq -r .text",
)

app = typer.Typer(add_completion=False)


@app.command(epilog=EXAMPLES)
@grouped
def describe_image(
    files: Annotated[list[str], typer.Argument(metavar="FILE", help="PNG, JPEG, WebP, GIF, BMP, TIFF; - is stdin.")],
    engine: EngineOptions,
    sampling: SamplingOptions,
    output: OutputOptions,
    prompt: Annotated[str, typer.Option(metavar="TEXT", help="Question to ask about each picture.")] = PROMPT,
    detail: Annotated[int | None, *option("detail")] = None,
) -> None:
    """Describe images, or answer questions about them."""
    from gemma_cli.media.pictures.image import read_image

    if not prompt.strip():
        raise UsageError("--prompt is blank: say what to ask about each picture, or leave it out")
    chosen, drafting = sampling.sampling(), engine.drafting()

    @cache
    def model() -> Engine:
        return start(engine, output)

    batch = Batch(len(files))
    for file in files:
        with batch.one():
            picture = read_image(file)
            request = Request(ask(picture, prompt), chosen, drafting, image_budget=detail)
            describer = model()
            if not output.as_json:
                print(heading(picture.name, len(files)), end="", flush=True)
            complete(draw(describer, request, output, answer_view(), {"file": picture.name}))
    batch.finish()
