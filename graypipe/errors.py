"""Exceptions raised by graypipe.

The hierarchy::

    GraypipeError
    ├── LayoutError          (ValueError)             axes, shapes and ``out=``
    ├── ChannelError         (ValueError, TypeError)  band names and band counts
    ├── RangeError           (ValueError)             a missing or invalid value range
    ├── DTypeError           (TypeError)              dtypes and array types
    ├── CopyRequiredError    (ValueError)             a requested view is impossible
    ├── ReadError            (OSError)                a file that cannot be read
    └── MissingExtraError    (ImportError)            an optional dependency is missing

Every message says what was expected, what was received and how to fix it.

Each class takes exactly one positional argument, the message, and sets
``__init__ = Exception.__init__`` explicitly. Both are required for errors that cross
process or framework boundaries: unpickling an exception calls its class with ``args``,
and TensorFlow rebuilds an exception raised inside ``Dataset.map`` as its own type only
if ``type(error).__init__ is Exception.__init__``.
"""


class GraypipeError(Exception):
    """Base class of all exceptions raised by graypipe.

    Examples
    --------
    >>> import graypipe as gp
    >>> try:
    ...     gp.plan("RGBY", "imagenet")
    ... except gp.GraypipeError as error:
    ...     print(type(error).__name__)
    ChannelError
    """

    __init__ = Exception.__init__


class LayoutError(GraypipeError, ValueError):
    """An array's axes or shape do not match the declared layout.

    Also raised if the result cannot be written into the array passed as ``out=``.

    Examples
    --------
    >>> import numpy as np
    >>> import graypipe as gp
    >>> plan = gp.plan("gray", "imagenet")
    >>> plan(np.zeros((8, 16, 16), np.uint8))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    graypipe.errors.LayoutError: expected 2 axes (layout 'HW', 1 band), got 3...
    """

    __init__ = Exception.__init__


class ChannelError(GraypipeError, ValueError, TypeError):
    """Band names or band counts are invalid or do not match.

    Also raised for an invalid channel map, preset or model configuration. It is also a
    `TypeError`, because arguments of a wrong type can cause it, such as a band name
    that is not a string.

    Examples
    --------
    >>> import graypipe as gp
    >>> gp.select("RGB", of="RGY")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    graypipe.errors.ChannelError: output band 'B' uses 'B', which is not one of...
    """

    __init__ = Exception.__init__


class RangeError(GraypipeError, ValueError):
    """The range of the stored values is unknown, invalid or contradicted by the data.

    Also raised if another declared number, such as ``std``, is invalid.

    Examples
    --------
    >>> import numpy as np
    >>> import graypipe as gp
    >>> plan = gp.plan("gray", "imagenet")
    >>> plan(np.zeros((2, 2), np.int16))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    graypipe.errors.RangeError: int16 does not imply a black and a white level...
    """

    __init__ = Exception.__init__


class DTypeError(GraypipeError, TypeError):
    """A dtype or an array type is not supported.

    Examples
    --------
    >>> import graypipe as gp
    >>> plan = gp.plan("gray", "imagenet")
    >>> plan([[0, 255]])  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    graypipe.errors.DTypeError: expected a NumPy array, got builtins.list...
    """

    __init__ = Exception.__init__


class CopyRequiredError(GraypipeError, ValueError):
    """The result cannot be expressed as a view of the input.

    Examples
    --------
    >>> import numpy as np
    >>> import graypipe as gp
    >>> plan = gp.plan("gray", "imagenet")
    >>> plan.view(np.zeros((2, 2), np.uint8))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    graypipe.errors.CopyRequiredError: the map computes new values...
    """

    __init__ = Exception.__init__


class ReadError(GraypipeError, OSError):
    """A file cannot be read, or only by losing or inventing information.

    Examples
    --------
    >>> import graypipe as gp
    >>> gp.read("no-such-file.png")
    Traceback (most recent call last):
    graypipe.errors.ReadError: no-such-file.png: No such file or directory
    """

    __init__ = Exception.__init__


class MissingExtraError(GraypipeError, ImportError):
    """An optional dependency is not installed; the message names the extra to install.

    Examples
    --------
    >>> import graypipe as gp
    >>> issubclass(gp.MissingExtraError, ImportError)
    True
    """

    __init__ = Exception.__init__
