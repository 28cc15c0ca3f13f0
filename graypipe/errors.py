"""Every error the package raises; nothing else.

GraypipeError
├── LayoutError          (ValueError)             axes, shapes, ``out=`` memory
├── ChannelError         (ValueError, TypeError)  bands, their names and counts
├── RangeError           (ValueError)             what the stored values mean
├── DTypeError           (TypeError)              element types and array types
├── CopyRequiredError    (ValueError)             a view was asked for, and cannot be had
├── ReadError            (OSError)                a file that cannot be read without loss
└── MissingExtraError    (ImportError)            an optional dependency that is not installed

A message says what was expected, what arrived and what to do next. Each class takes that one message and nothing
else, and restates ``__init__``: TensorFlow rebuilds an exception raised inside ``Dataset.map`` as its own type only
when ``type(error).__init__ is Exception.__init__``, and pickling between worker processes replays ``args``.
"""


class GraypipeError(Exception):
    """Base of all errors of this package."""

    __init__ = Exception.__init__


class LayoutError(GraypipeError, ValueError):
    """Axes or shapes do not fit the declared layout, or ``out=`` cannot take the result."""

    __init__ = Exception.__init__


class ChannelError(GraypipeError, ValueError, TypeError):
    """Band names or band counts do not fit."""

    __init__ = Exception.__init__


class RangeError(GraypipeError, ValueError):
    """The range of the values is unknown, impossible, or contradicted by the data."""

    __init__ = Exception.__init__


class DTypeError(GraypipeError, TypeError):
    """An element type, or a kind of array, that cannot be taken."""

    __init__ = Exception.__init__


class CopyRequiredError(GraypipeError, ValueError):
    """The result cannot be a view of the input."""

    __init__ = Exception.__init__


class ReadError(GraypipeError, OSError):
    """A file cannot be read without losing or inventing something."""

    __init__ = Exception.__init__


class MissingExtraError(GraypipeError, ImportError):
    """An optional dependency is missing; the message names the extra that brings it."""

    __init__ = Exception.__init__
