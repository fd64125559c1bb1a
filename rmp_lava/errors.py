"""Errors for the user: one sentence saying which thing, what was found, what is allowed and what to do.

Every error that a user can cause derives from `RmpLavaError`; the command line prints it without a traceback and exits
with code 2. Anything else that escapes is a defect of this package.
"""

from __future__ import annotations

from collections.abc import Iterable


def abridged(names: Iterable[object], most: int = 10) -> str:
    """Names as a message lists them, at most so many."""
    shown = [str(name) for name in names]
    more = f" and {len(shown) - most} more" if len(shown) > most else ""
    return ", ".join(shown[:most]) + more


def first_line(error: Exception) -> str:
    """The first line of an error's message, or the error's type if the message is empty."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


class RmpLavaError(Exception):
    """Base of all errors that a user can cause and mend."""


class UsageError(RmpLavaError):
    """A call or an option that cannot be meant."""


class DataError(RmpLavaError):
    """Images, labels or data sets that are missing, malformed or out of range."""


class CheckpointError(RmpLavaError):
    """A training checkpoint that is missing, damaged or of another kind."""


class ConversionError(RmpLavaError):
    """A network that cannot be converted as it is."""


class NetworkError(RmpLavaError):
    """A spiking network that contradicts itself (shapes, names, ranges, cycles)."""


class NetFileError(RmpLavaError):
    """A `.net` file that cannot be read or written."""


class ProfileError(RmpLavaError):
    """A hardware profile that is missing, incomplete or absurd."""


class BackendError(RmpLavaError):
    """A backend that failed while it ran: a crash, a time-out, an interrupted run."""


class BackendUnavailableError(BackendError):
    """A backend that this machine does not have; never answered by running another one instead."""


class RangeOverflowError(RmpLavaError):
    """An integer range was exceeded in strict mode."""


class RmpLavaWarning(UserWarning):
    """Something that costs accuracy or that a user has to know, but stops nothing; the command line prints it as one sentence."""
