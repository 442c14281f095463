"""The command line: ``convention-broker VERB``. Exit status 0 done, 1 failed, 2 wrong usage.

A verb's module is imported only when the verb is typed, so ``--help`` loads no torch and opens no socket.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from io import TextIOWrapper
from threading import current_thread, main_thread
from types import ModuleType
from typing import Final, NoReturn

from broker_plugin.kafka.interrupts import end_at_signals, was_interrupted
from broker_plugin.version import plugin_version
from schemas.errors import ConventionError, SettingsError

DONE: Final = 0
FAILED: Final = 1
WRONG_USAGE: Final = 2

# verb -> (module under broker_plugin.commands, one line for the overview)
VERBS: Final[dict[str, tuple[str, str]]] = {
    "worker": ("worker", "run the broker worker: ingest and classify"),
    "demo": ("demo", "all of it on an embedded broker"),
    "replay": ("replay", "archived alerts through the same path, into files or a Kafka topic"),
    "backfill": ("backfill", "fill the stamp log from an archive, or rescore what is stored"),
    "decode": ("decode", "what becomes of alert packets, one line each"),
    "ledger": ("ledger", "what became of every offset"),
    "redrive": ("redrive", "put the packets of dead letters back on their topic"),
    "check-config": ("check_config", "validate the settings and print them, without a network"),
    "networks": ("networks", "list the networks, their sizes and what they cost"),
    "bundle": ("bundle", "list, inspect, verify or promote model bundles"),
    "train": ("train", "make training sets and train bundles"),
    "simulate": ("simulate", "simulate a survey's alert packets and image sequences, with their truth"),
    "evaluate": ("evaluate", "compare classifications with a truth table, write JSON and an HTML report"),
    "show": ("show", "an object's sequence, light curve and probabilities, in the terminal and as PNG"),
}

# argparse's "invalid int value: 'x'" -> "expected a whole number, not 'x'"
ARGPARSE_NAMES: Final = {"int": "a whole number", "float": "a number"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; errors of the project end in one line on standard error, never in a traceback."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help"):
        try:
            print(_overview(), flush=True)  # noqa: T201
        except BrokenPipeError:
            _close_stdout()
        return DONE if arguments else WRONG_USAGE
    if arguments[0] == "--version":
        print(f"convention-broker {plugin_version()}")  # noqa: T201
        return DONE
    verb, rest = arguments[0], arguments[1:]
    if verb not in VERBS:
        return _complain(f"unknown verb {verb!r}: expected one of {', '.join(VERBS)}", WRONG_USAGE)
    return _run(verb, rest)


class Parser(argparse.ArgumentParser):
    """Wrong usage is one line, as every other mistake; the usage itself is for ``--help``."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and end with WRONG_USAGE."""
        for name, words in ARGPARSE_NAMES.items():
            message = message.replace(f"invalid {name} value:", f"expected {words}, not")
        raise SystemExit(_complain(f"{message}; see {self.prog} --help", WRONG_USAGE))


def parser_of(verb: str) -> argparse.ArgumentParser:
    """The arguments of one verb, of those in VERBS."""
    command = _module(verb)
    parser = Parser(
        prog=f"convention-broker {verb}",
        description=command.HELP,
        epilog=f"example:\n  {command.EXAMPLE}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_arguments(parser)
    return parser


def _module(verb: str) -> ModuleType:
    return import_module(f"broker_plugin.commands.{VERBS[verb][0]}")


def _run(verb: str, arguments: list[str]) -> int:
    args = parser_of(verb).parse_args(arguments)
    if isinstance(sys.stdout, TextIOWrapper):  # file names may hold bytes that are no text
        sys.stdout.reconfigure(errors="backslashreplace")
    if current_thread() is main_thread():
        end_at_signals()  # so that what a verb started ends with it
    try:
        return int(_module(verb).run(args))
    except SettingsError as error:
        return _complain(str(error), WRONG_USAGE)
    except ConventionError as error:
        return _complain(str(error), FAILED)
    except KeyboardInterrupt:
        return _complain("interrupted", FAILED)
    except SystemError:  # confluent_kafka's, where it was interrupted
        if not was_interrupted():
            raise
        return _complain("interrupted", FAILED)
    except BrokenPipeError:
        _close_stdout()
        return DONE
    except OSError as error:  # a file or folder that cannot be read or written, or an output that is full
        if error.filename is None:
            _close_stdout()
        return _complain(f"{error.filename or 'output'}: {error.strerror or error}", FAILED)


def _complain(message: str, status: int) -> int:
    print(f"convention-broker: error: {message}", file=sys.stderr)  # noqa: T201
    return status


def _close_stdout() -> None:
    # the reader of our pipe went away (head, less): nothing more can be said, and the exit must not say it again
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _overview() -> str:
    width = max(map(len, VERBS)) + 2
    verbs = "\n".join(f"  {verb:<{width}}{line}" for verb, (_, line) in VERBS.items())
    return (
        "usage: convention-broker VERB [options]\n\n"
        "Classifies objects from the image time series in survey alert streams.\n\n"
        f"verbs:\n{verbs}\n\nconvention-broker VERB --help explains a verb and shows an example."
    )


def entry() -> NoReturn:
    """Entry point of ``python -m broker_plugin``."""
    raise SystemExit(main())
