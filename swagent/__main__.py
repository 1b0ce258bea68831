"""The door of the command line: `swagent VERB`. The resident agent stays free of cliff, all other verbs use it.

All errors end here: one sentence on stderr and the exit code of docs/commands.md; a traceback with --debug only.
"""

from __future__ import annotations

import os
import sys
from typing import Sequence

from swagent.errors import SwagentError

INTERRUPTED = 130  # as shells say it: 128 + SIGINT
READER_LEFT = 141  # 128 + SIGPIPE: `swagent runs log 3 | head`


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb and give its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        # A facts text that the terminal's encoding lacks is shown escaped, and is no reason to fail.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        code = dispatch(words)
        sys.stdout.flush()
        return code
    except SystemExit as leaving:  # argparse: 0 after --version and --help, 2 after its own message
        return leaving.code if isinstance(leaving.code, int) else 1
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The interpreter flushes stdout once more at its end, and would complain there.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return READER_LEFT
    except Exception as error:
        if "--debug" in words:
            import traceback

            traceback.print_exc()
        code, message = told(error)
        print(f"swagent: {message}", file=sys.stderr)
        return code


def told(error: Exception) -> tuple[int, str]:
    """(exit code, sentence) of an error."""
    if isinstance(error, SwagentError):
        return error.exit_code, str(error)
    if isinstance(error, PermissionError):
        return 77, f"{error.filename}: permission denied; run this command as root"
    if isinstance(error, OSError):
        return 1, f"{error.filename or 'input/output'}: {error.strerror or error}"
    return 1, f"unexpected {type(error).__name__}: {error}; run it again with --debug and report what it prints"


def dispatch(words: list[str]) -> int:
    """Route the verbs that must be light past cliff."""
    import argparse

    from swagent.commands import DIRECT, add_global_options, call_directly

    parser = argparse.ArgumentParser(prog="swagent", add_help=False, allow_abbrev=False)
    add_global_options(parser)
    options, rest = parser.parse_known_args(words)
    if rest and rest[0] in DIRECT:
        return call_directly(rest[0], options, rest[1:])
    from swagent.commands.app import App

    return int(App().run(words))


if __name__ == "__main__":
    sys.exit(main())
