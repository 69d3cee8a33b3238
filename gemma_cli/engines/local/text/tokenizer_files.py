"""tokenizer.json, tokenizer_config.json and the chat template of a checkpoint folder, read and checked.

The `tokenizers` library takes any JSON of its format, also one that takes hours (a replacement that makes text a
thousand times as long, a regular expression that backtracks), that chooses at random, or that panics. So only the form
that Gemma 4's vocabulary has, and that detokenize.py undoes, is let in.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer as Backend

from gemma_cli.core.errors import ModelError
from gemma_cli.engines.local.model.schema import config_schema
from gemma_cli.engines.local.model.schema.json_fields import FieldError, shown
from gemma_cli.store.json_file import read_bytes, read_object, read_text

TOKENIZER = "tokenizer.json"
SETTINGS = "tokenizer_config.json"
TEMPLATE = "chat_template.jinja"

LARGEST = 64 << 20
"""Bytes of tokenizer.json, twice the true one."""

MOST_VALUES = 4_000_000
"""Values in it, two and a half times as many. The library's reader takes up to 90 bytes for each, and the file fits
three hundred million."""

LONGEST_TEMPLATE = 1 << 20
"""Bytes; Google's have 20,000."""

_SPACES = {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}
_WORDS = {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": False}


@dataclass(frozen=True)
class Settings:
    """named: tokens by the names that templates know ("bos_token"); extra: other control tokens; template: its source,
    None where there is none; template_file: where that came from."""

    named: Mapping[str, str]
    extra: tuple[str, ...]
    template: str | None
    template_file: Path


def read_backend(folder: Path) -> Backend:
    """Read tokenizer.json. Raises ModelError."""
    path = folder / TOKENIZER
    content = read_bytes(path, LARGEST)
    if content is None:
        raise ModelError(f"{folder}: {TOKENIZER} is missing; download the checkpoint again")
    if sum(map(content.count, (b",", b"[", b"{"))) > MOST_VALUES:
        raise _broken(path, f"the file has more than {MOST_VALUES} values")
    try:
        backend = Backend.from_buffer(content)
        _check(path, backend)
        backend.no_truncation()
        backend.no_padding()
    except ModelError:
        raise
    except BaseException as error:  # the library raises plain Exceptions, and panics with a kind of its own
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise _broken(path, " ".join(str(error).split())[:200]) from None
    return backend


def read_settings(folder: Path) -> Settings:
    """Read tokenizer_config.json, which may be missing, and the chat template. Raises ModelError."""
    path = folder / SETTINGS
    values = read_object(path) or {}
    try:
        known = config_schema.TOKENIZER.check(values)
        extra = known["extra_special_tokens"]
        named = dict(_named(values)) | _contents(known["model_specific_special_tokens"])
        if isinstance(extra, dict):  # an older form of model_specific_special_tokens
            named |= _contents(extra)
            extra = None
        unnamed = tuple(map(_content, extra or known["additional_special_tokens"]))
    except FieldError as error:
        raise ModelError(f"{path}: {error}; download the checkpoint again") from None
    own = read_text(folder / TEMPLATE, LONGEST_TEMPLATE)
    if own is not None:
        return Settings(named, unnamed, own, folder / TEMPLATE)
    return Settings(named, unnamed, _default(known["chat_template"]), path)


def _check(path: Path, backend: Backend) -> None:
    """Raise ModelError for parts that are not those of Gemma 4's tokenizer."""
    parts = (("normalizer", backend.normalizer, _SPACES), ("pre_tokenizer", backend.pre_tokenizer, _WORDS))
    for name, part, wanted in parts:
        if part is not None and json.loads(part.__getstate__()) != wanted:
            raise _broken(path, f"{name} must be {json.dumps(wanted, ensure_ascii=False)}")
    model: Any = backend.model
    if type(model).__name__ != "BPE":
        raise _broken(path, f"the type of the tokenizer is {type(model).__name__}, not BPE")
    if model.dropout:
        raise _broken(path, f"model.dropout is {model.dropout:g}, but only 0 tokenizes a text the same way each time")
    if model.unk_token is not None and model.token_to_id(model.unk_token) is None:
        raise _broken(path, f"model.unk_token {shown(model.unk_token)} is not in the vocabulary")


def _named(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """("bos_token", "<bos>") and the others; what begins with add_ or num_ says something else."""
    for name, token in values.items():
        if name.endswith("_token") and not name.startswith(("add_", "num_")) and token is not None:
            yield name, _content(config_schema.TOKEN.check(token, name))


def _contents(tokens: Mapping[str, Any]) -> dict[str, str]:
    return {name: _content(token) for name, token in tokens.items()}


def _content(token: str | Mapping[str, str]) -> str:
    return token if isinstance(token, str) else token["content"]


def _default(template: str | list[dict[str, str]] | None) -> str | None:
    """Return a template in the older form: alone, or one of several."""
    if not isinstance(template, list):
        return template
    return {entry["name"]: entry["template"] for entry in template}.get("default")


def _broken(path: Path, reason: str) -> ModelError:
    return ModelError(f"{path}: not a tokenizer of Gemma 4: {reason}; download the checkpoint again")
