"""The errors that reach a person: what went wrong, which thing, and the next step.

Expected outcomes (a recipe that failed, a fact with no tool) are values, not errors.
"""

from __future__ import annotations


class SwagentError(Exception):
    """One sentence for a person; `exit_code` is what the command line ends with (design.md section 10)."""

    exit_code = 1


class UsageError(SwagentError):
    """The words of a command or a setting are not understood."""

    exit_code = 2


class SettingsError(UsageError):
    """A settings file, SWAGENT_* variable or flag cannot be used."""


class DocumentError(SwagentError):
    """A document is not what it should be.

    source: which document (a path, a URL, a collector's name); place: where in it; remedy: what to do.
    """

    def __init__(self, source: str, place: str, problem: str, remedy: str) -> None:
        super().__init__(f"{source}: {place}: {problem}; {remedy}" if place else f"{source}: {problem}; {remedy}")
        self.source = source
        self.place = place
        self.problem = problem
        self.remedy = remedy


class SourceUnavailable(SwagentError):
    """A collector's source has nothing or does not answer now; its last good document stays in use."""


class NotConfigured(SourceUnavailable):
    """A collector lacks the settings that it needs: it is not polled, and that is no fault."""


class TransportError(SwagentError):
    """A request to a service failed; status is the HTTP status, or None where no answer came."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class CommandFailed(SwagentError):
    """A program that we started failed: argv[0], exit status (negative: the signal) and its last words."""

    def __init__(self, command: str, status: int, stderr: str) -> None:
        last = stderr.strip().splitlines()[-1:] or ["no message"]
        super().__init__(f"{command} ended with {status}: {last[0]}")
        self.command = command
        self.status = status
        self.stderr = stderr


class CommandTimeout(CommandFailed):
    """A program that we started was ended at its deadline, with everything that it had started."""

    def __init__(self, command: str, seconds: float, stderr: str = "") -> None:
        super().__init__(command, 124, f"{stderr}\nended at its deadline of {seconds:g} s")
        self.seconds = seconds


class LockHeld(SwagentError):
    """Another swagent has this root; the message says which process and since when."""

    exit_code = 75


class NeedsRoot(SwagentError):
    """The command changes the machine or reads secrets, and the caller is not root."""

    exit_code = 77
