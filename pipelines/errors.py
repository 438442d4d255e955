"""Errors that end a verb with one line on stderr and an exit code of their own."""


class DataRefused(Exception):
    """The data cannot be used as they are (exit code 3)."""


class NotFound(Exception):
    """A dataset, version, run or checkpoint that is not there (exit code 10)."""


class NonFinite(ArithmeticError):
    """A loss or an embedding is not a finite number; the text names the task and the step."""


class Failed(Exception):
    """Work that could not be finished, with what to do about it (exit code 1)."""
