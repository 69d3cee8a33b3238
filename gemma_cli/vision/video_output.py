"""Output of descriptions of videos."""

from __future__ import annotations

import html
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gemma_cli.common.notices import heading
from gemma_cli.common.options import ModelOptions
from gemma_cli.core.events import together
from gemma_cli.store.atomic_write import write_together
from gemma_cli.text.clock import clock
from gemma_cli.views.sanitize import safe
from gemma_cli.vision.task import Task
from gemma_cli.vision.watching import Chapter, VideoDescription

_DAY = 24 * 3600.0


def record(video: VideoDescription) -> dict[str, Any]:
    """Return the fields that formats write; none depends on the speed of the machine."""
    tokens = [one.soft_tokens for one in video.chapters if one.soft_tokens is not None]
    chaptered = any(one.title for one in video.chapters) or len(video.chapters) > 1
    return {
        "file": video.name,
        "duration_s": None if video.chapters[-1].end is None else round(video.chapters[-1].end, 3),
        "frames": sum(one.frames for one in video.chapters),
        "sound": video.heard,
        "soft_tokens": sum(tokens) if tokens else None,
        "text": video.text,
        "chapters": [_rounded(one) for one in video.chapters] if chaptered else None,
    }


def text_of(chapter: Chapter) -> str:
    """Return a part as text, under its time and title if it has a title."""
    if not chapter.title:
        return f"{chapter.description}\n"
    return f"{clock(chapter.start)} {chapter.title}\n{chapter.description}\n\n"


def save(video: VideoDescription, paths: Mapping[str, Path]) -> None:
    """Write a video's description to its files, by format."""
    write_together({path: safe(FORMATS[name].document(video, False)) for name, path in paths.items()})


def write_object(video: VideoDescription, task: Task, engine: ModelOptions) -> None:
    """Print the JSON object of a video."""
    from gemma_cli.views import json as views

    fields = views.turn_object(together(video.turns), task.engine().info, engine.draft_tokens, task.request())
    views.write(record(video) | fields | {"text": video.text}, sys.stdout)


def _text(video: VideoDescription, many: bool) -> str:
    summary = f"{video.summary}\n" if video.summary else ""
    return heading(video.name, 2 if many else 1) + "".join(map(text_of, video.chapters)) + summary


def _json(video: VideoDescription, many: bool) -> str:
    return json.dumps(record(video), ensure_ascii=False, indent=2) + "\n"


def _json_line(video: VideoDescription, many: bool) -> str:
    return json.dumps(record(video), ensure_ascii=False) + "\n"


def _vtt(video: VideoDescription, many: bool) -> str:
    return "WEBVTT\n\n" + "".join(map(_cue, video.chapters))


def _markdown(video: VideoDescription, many: bool) -> str:
    return f"## {_line(video.name)}\n\n{video.text}\n\n" + "".join(map(_section, video.chapters))


@dataclass(frozen=True)
class VideoFormat:
    """A format of a video's description.

    document: writes a description, which is one of `many` on stdout. one_input: a file holds one video only.
    chapters: it holds nothing but chapters.
    """

    document: Callable[[VideoDescription, bool], str]
    one_input: bool = False
    chapters: bool = False


FORMATS = {
    "txt": VideoFormat(_text),
    "json": VideoFormat(_json, one_input=True),
    "jsonl": VideoFormat(_json_line),
    "vtt": VideoFormat(_vtt, one_input=True, chapters=True),
    "md": VideoFormat(_markdown),
}


def _rounded(chapter: Chapter) -> dict[str, Any]:
    end = None if chapter.end is None else round(chapter.end, 3)
    return asdict(chapter) | {"start": round(chapter.start, 3), "end": end}


def _cue(chapter: Chapter) -> str:
    end = chapter.end or chapter.start + _DAY
    title = html.escape(_line(chapter.title or chapter.description), quote=False)
    return f"{clock(chapter.start, 3, '.', 2)} --> {clock(end, 3, '.', 2)}\n{title}\n\n"


def _section(chapter: Chapter) -> str:
    return f"### {clock(chapter.start)} {_line(chapter.title)}\n\n{chapter.description}\n\n" if chapter.title else ""


def _line(text: str) -> str:
    return " ".join(text.split())
