"""`gemma completion`: let a shell complete commands, options and their values."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Annotated, Literal, cast, get_args

import typer

from gemma_cli.common.notices import notice
from gemma_cli.common.options import examples
from gemma_cli.core.errors import UsageError
from gemma_cli.store.atomic_write import write_whole
from gemma_cli.store.bounded_read import read_text
from gemma_cli.store.paths import data_dir

Shell = Literal["bash", "zsh", "fish"]

app = typer.Typer(add_completion=False)

BASH = """\
_gemma() {
    mapfile -t COMPREPLY < <(_GEMMA_COMPLETE=bash gemma "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
    if [[ ${COMPREPLY[0]-} == :files ]]; then
        COMPREPLY=()
        compopt -o default
    fi
}
complete -F _gemma gemma
"""

ZSH = """\
#compdef gemma
_gemma() {
    local -a found described
    local line word
    found=("${(@f)$(_GEMMA_COMPLETE=zsh gemma "${(@Q)words[2,CURRENT]}" 2>/dev/null)}")
    if [[ ${found[1]} == :files ]]; then
        _files
        return
    fi
    for line in $found; do
        word=${${line%%$'\\t'*}//:/\\\\:}
        [[ $line == *$'\\t'* ]] && word+=":${line#*$'\\t'}"
        described+=("$word")
    done
    _describe -V gemma described
}
(( $+functions[compdef] )) || { autoload -Uz compinit && compinit; }
compdef _gemma gemma
"""

FISH = """\
function __gemma_complete
    set -l words (commandline -opc) (commandline -ct)
    set -l found (_GEMMA_COMPLETE=fish gemma $words[2..-1] 2>/dev/null)
    if test "$found" = :files
        __fish_complete_path (commandline -ct)
    else
        printf '%s\\n' $found
    end
end
complete -c gemma -f -a '(__gemma_complete)'
"""

SCRIPTS: dict[Shell, str] = {"bash": BASH, "zsh": ZSH, "fish": FISH}


@app.command(
    epilog=examples("gemma completion --install", "gemma completion zsh --install", 'eval "$(gemma completion bash)"')
)
def completion(
    shell: Annotated[
        Shell | None, typer.Argument(metavar="SHELL", help="Shell: bash, zsh or fish. Default: the shell you use.")
    ] = None,
    install: Annotated[
        bool, typer.Option("--install", help="Install the script, so that every new shell loads the script.")
    ] = False,
) -> None:
    """Print or install a shell script that completes the commands, options and values of gemma."""
    chosen = shell or _own()
    if not install:
        print(SCRIPTS[chosen], end="")
        return
    for path in _install(chosen):
        notice(f"written: {path}")
    notice(f"completion works in the next {chosen} shell that you start")


def _own() -> Shell:
    name = Path(os.environ.get("SHELL", "")).name
    if name not in get_args(Shell):
        raise UsageError(f"no shell is named and $SHELL is not a known shell: name one of {', '.join(get_args(Shell))}")
    return cast("Shell", name)


def _install(shell: Shell) -> list[Path]:
    """Write the script, and for bash and zsh a line that reads it. The result: the files that were changed."""
    if shell == "fish":
        configuration = Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config").expanduser()
        script = configuration / "fish" / "completions" / "gemma.fish"
        write_whole(script, FISH)
        return [script]
    script = data_dir() / f"completion.{shell}"
    write_whole(script, SCRIPTS[shell])
    home = os.environ.get("ZDOTDIR") if shell == "zsh" else None
    started = (Path(home or "~").expanduser() / f".{shell}rc").resolve()
    line = f"[ -r {shlex.quote(str(script))} ] && source {shlex.quote(str(script))}  # completion of gemma"
    try:
        content = read_text(started)
    except FileNotFoundError:
        content = ""
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{started}: the file cannot be read ({error}); add this line to the file: {line}") from None
    if line in content.splitlines():
        return [script]
    blank = "" if not content or content.endswith("\n") else "\n"
    mode = started.stat().st_mode if started.exists() else 0o644
    write_whole(started, f"{content}{blank}{line}\n")
    started.chmod(mode)
    return [script, started]
