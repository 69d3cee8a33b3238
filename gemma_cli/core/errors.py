"""Errors for the user, and their exit codes.

GemmaError                 1  it ran and failed
├── UsageError             2  the command line is wrong: unknown model, language, option value
│   └── InputError         2  an input is wrong: missing, empty, corrupt, not what it says it is
│       └── DamagedError   1  part of an input is damaged; the rest has been worked on
├── ModelError             1  a checkpoint was found but cannot be run
│   ├── OutOfMemory        1  the device has too little memory for what was asked
│   ├── TemplateRefused    1  its chat template refuses a conversation
│   └── TemplateTooCostly  2  its chat template exceeds a bound of time, memory or length
└── Interrupted          130  Ctrl-C

A message is one line that names the input and the remedy. `cli.py` is the only place that catches these;
with GEMMA_DEBUG=1 it lets the traceback through.
"""


class GemmaError(Exception):
    """It ran and failed; the message is one line for the user."""

    exit_code = 1


class UsageError(GemmaError):
    """The command line asks for something that does not exist or does not fit together."""

    exit_code = 2


class InputError(UsageError):
    """A file, URL or standard input cannot be used for what was asked."""


class DamagedError(InputError):
    """Part of a file cannot be read; what can be read has been written."""

    exit_code = 1


class ModelError(GemmaError):
    """A checkpoint was found but cannot be run; the message says what would help."""


class OutOfMemory(ModelError):
    """The device has too little memory; the message names the smallest change that fits."""


class TemplateRefused(ModelError):
    """A checkpoint's chat template raises an error for a conversation; the message repeats it."""


class TemplateTooCostly(ModelError):
    """A checkpoint's chat template exceeds a bound; the message names the file that holds it."""

    exit_code = 2


class Interrupted(GemmaError):
    """The user pressed Ctrl-C."""

    exit_code = 130


class Terminated(SystemExit):
    """A signal ends the program with 128 and its number. It is not an error and must not be caught."""
