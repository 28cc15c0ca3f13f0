"""Transfer weights from one model to another by name and shape, and report the outcome.

The adapters for torch and Keras build on `transfer`: they translate models and files
into mappings of names to arrays, and write the result back.
"""

from collections.abc import Callable, Collection, Hashable, Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import ArrayLike, NDArray

from ..channel_map import ChannelMap
from ..errors import ChannelError, DTypeError, LayoutError
from .casting import as_array, cast, fits_float64

Array = NDArray[Any]
Weights = Mapping[str, ArrayLike]
# Name in the source -> name in the target. None skips the weight.
Rename = Mapping[str, str | None] | Callable[[str], str | None]
# Name in the target -> function of the weight. For a tuple of names, the function
# receives and returns as many weights.
Adapt = Mapping[str | tuple[str, ...], Callable[..., Any]]

# Maximum number of names in an error message.
MAX_LISTED_NAMES = 5


@dataclass(frozen=True)
class Report:
    """Result of `transfer` for each weight.

    Every weight of the target is in ``copied``, ``adapted`` or ``untouched``, in the
    order of the target. ``print(report)`` shows a table.

    Parameters
    ----------
    copied : tuple of str
        Weights of the target that were copied from the source.
    adapted : tuple of str
        Weights of the target that were computed by a function of ``adapt=``.
    skipped : tuple of (str, str)
        Weights of the source that are not used, each with the reason.
    untouched : tuple of str
        Weights of the target that keep their values.

    Examples
    --------
    >>> import numpy as np
    >>> import graypipe as gp
    >>> target = {"conv.weight": np.zeros((8, 1, 3, 3)), "conv.bias": np.zeros(8)}
    >>> source = {"conv.weight": np.ones((8, 3, 3, 3)), "conv.bias": np.ones(8)}
    >>> weights, report = gp.weights.transfer(target, source)
    >>> report.copied
    ('conv.bias',)
    >>> print(report)
    copied 1, adapted 0, skipped 1, untouched 1
    copied     conv.bias
    skipped    conv.weight  shape (8, 3, 3, 3), the target's is (8, 1, 3, 3)
    untouched  conv.weight
    """

    copied: tuple[str, ...]
    adapted: tuple[str, ...]
    skipped: tuple[tuple[str, str], ...]
    untouched: tuple[str, ...]

    def __str__(self) -> str:
        rows = [("copied", name, "") for name in self.copied]
        rows += [("adapted", name, "") for name in self.adapted]
        rows += [("skipped", name, reason) for name, reason in self.skipped]
        rows += [("untouched", name, "") for name in self.untouched]
        width = max((len(name) for _, name, _ in rows), default=0)
        lines = [
            f"copied {len(self.copied)}, adapted {len(self.adapted)}, "
            f"skipped {len(self.skipped)}, untouched {len(self.untouched)}"
        ]
        for outcome, name, reason in rows:
            lines.append(f"{outcome:<9}  {name:<{width}}  {reason}".rstrip())
        return "\n".join(lines)


def transfer(
    target: Weights,
    source: Weights,
    *,
    rename: Rename | None = None,
    adapt: Adapt | None = None,
) -> tuple[dict[str, Array], Report]:
    """Return the weights of a target model, filled from those of a source model.

    A weight of the source is copied if the target has a weight of the same name and
    shape. Weights of the source that are not used are listed in the report with the
    reason.

    Parameters
    ----------
    target : mapping of str to array_like
        The weights to fill, such as the state dict of a torch model.
    source : mapping of str to array_like
        The weights to take values from.
    rename : mapping or callable, optional
        Translates names of the source to names of the target. Names that a mapping
        does not contain stay as they are. None as the new name skips the weight.
    adapt : mapping, optional
        Name in the target -> function that computes the weight. The function receives
        the weight of the source and returns an array with the shape of the target
        weight. For a tuple of names, such as a kernel and its bias, the function
        receives and returns as many weights.

    Returns
    -------
    weights : dict of str to ndarray
        One new array for each weight of the target, with the order and the dtypes of
        the target. Floating weights are cast to the floating dtype of the target;
        weights that differ in dtype otherwise are skipped.
    report : Report
        Result for each weight.

    Raises
    ------
    ChannelError
        If ``rename`` or ``adapt`` contain names that do not exist, if two weights of
        the source get the same name, or if a function of ``adapt`` returns the wrong
        number of weights.
    DTypeError
        If an argument has the wrong type, or a weight is not an array of numbers.
    LayoutError
        If an adapted weight does not match the shape and kind of dtype of the target
        weight.
    RangeError
        If a value overflows the dtype of the target.

    Examples
    --------
    Transfer a model that reads RGB to one that reads gray, and fold the kernel of its
    first layer:

    >>> import numpy as np
    >>> import graypipe as gp
    >>> target = {"stem.weight": np.zeros((8, 1, 3, 3)), "head.bias": np.zeros(10)}
    >>> source = {"conv.weight": np.ones((8, 3, 3, 3)), "fc.bias": np.ones(1000)}
    >>> def summed(kernel):
    ...     return gp.weights.fold(kernel, None, gp.replicate(), layout="OIHW")[0]
    >>> weights, report = gp.weights.transfer(
    ...     target,
    ...     source,
    ...     rename={"conv.weight": "stem.weight"},
    ...     adapt={"stem.weight": summed},
    ... )
    >>> weights["stem.weight"].shape
    (8, 1, 3, 3)
    >>> print(report)
    copied 0, adapted 1, skipped 1, untouched 1
    adapted    stem.weight
    skipped    fc.bias      the target has no 'fc.bias'
    untouched  head.bias
    """
    _check_weights(target, "target")
    _check_weights(source, "source")
    targets = {}
    for name, value in target.items():
        targets[name] = as_array(value, f"{name!r} of the target")
    new_names = _new_names(source, rename)
    # Convert only weights with a counterpart: a checkpoint may also contain entries
    # that are not arrays, such as the number of the epoch.
    candidates = {}
    for old, new in new_names.items():
        if new in targets:
            candidates[new] = as_array(source[old], f"{old!r} of the source")
    # An adapted weight is not copied, even if its shape already matches.
    adapted = _apply_adapt(targets, candidates, adapt)
    copied = {}
    for name, weight in candidates.items():
        if name not in adapted and not _mismatch(weight, targets[name]):
            copied[name] = cast(weight, targets[name].dtype, repr(name))
    filled = {**copied, **adapted}
    skipped = []
    for old, new in new_names.items():
        if new not in filled:
            skipped.append((old, _skip_reason(new, targets, candidates)))
    report = Report(
        copied=tuple(name for name in targets if name in copied),
        adapted=tuple(name for name in targets if name in adapted),
        skipped=tuple(skipped),
        untouched=tuple(name for name in targets if name not in filled),
    )
    weights = {}
    for name, weight in targets.items():
        if name in filled:
            weights[name] = filled[name]
        else:
            weights[name] = weight.copy()
    return weights, report


def resolve_tied_weights(
    report: Report, weights: Mapping[str, Array], storage: Mapping[str, Hashable]
) -> Report:
    """Return a report in which all names of a tied weight have the same outcome.

    A model may have several names for one weight. Writing to one of them changes all.

    Parameters
    ----------
    report : Report
        The report of `transfer`, in which each name has its own outcome.
    weights : mapping of str to ndarray
        The weights that `transfer` returned.
    storage : mapping of str to hashable
        A key for each name of the target, equal for names of the same weight.

    Returns
    -------
    Report
        A weight that was copied or adapted under one name is listed with all its names.

    Raises
    ------
    ChannelError
        If two names of one weight would be written with different values.
    """
    outcomes = dict.fromkeys(report.copied, "copied")
    outcomes |= dict.fromkeys(report.adapted, "adapted")
    first_names: dict[Hashable, str] = {}
    for name in outcomes:
        first = first_names.setdefault(storage[name], name)
        # Compare bytes, so that NaN equals NaN.
        if weights[first].tobytes() != weights[name].tobytes():
            raise ChannelError(
                f"{first!r} and {name!r} are one weight of the target, but would get "
                "different values: skip one of them by renaming it to None"
            )
    copied, adapted, untouched = [], [], []
    for name, key in storage.items():
        outcome = outcomes.get(first_names.get(key, ""))
        if outcome == "copied":
            copied.append(name)
        elif outcome == "adapted":
            adapted.append(name)
        else:
            untouched.append(name)
    return Report(tuple(copied), tuple(adapted), report.skipped, tuple(untouched))


def check_rename(rename: Any) -> None:
    """Raise DTypeError unless ``rename`` is a mapping, a callable or None."""
    if not (rename is None or callable(rename) or isinstance(rename, Mapping)):
        raise DTypeError(
            "expected rename to be a mapping or a function from names of the source "
            f"to names of the target, got {type(rename).__name__}"
        )


def _check_weights(weights: Any, argument: str) -> None:
    """Raise DTypeError unless ``weights`` is a mapping whose keys are strings."""
    if not isinstance(weights, Mapping):
        raise DTypeError(
            f"expected {argument} to be a mapping of names to arrays, such as a state "
            f"dict, got {type(weights).__name__}"
        )
    for name in weights:
        if not isinstance(name, str):
            raise DTypeError(
                f"expected the names in {argument} to be strings, got {name!r}"
            )


def _new_names(source: Weights, rename: Rename | None) -> dict[str, str | None]:
    """Return the name in the target for each name of the source, None to skip it."""
    check_rename(rename)
    new_names: dict[str, str | None] = {}
    if rename is None:
        new_names = {name: name for name in source}
    elif isinstance(rename, Mapping):
        for name in rename:
            if name not in source:
                raise ChannelError(
                    f"rename contains {name!r}, but the source has no such weight: it "
                    f"has {_list_names(source)}"
                )
        new_names = {name: rename.get(name, name) for name in source}
    else:
        new_names = {name: rename(name) for name in source}
    # Two weights for one name would overwrite each other silently.
    first_old_names: dict[str, str] = {}
    for old, new in new_names.items():
        if new is None:
            continue
        first = first_old_names.setdefault(new, old)
        if first != old:
            raise ChannelError(
                f"{first!r} and {old!r} of the source would both become {new!r}: "
                "rename one of them to None to skip it"
            )
    return new_names


def _apply_adapt(
    targets: Mapping[str, Array], candidates: Mapping[str, Array], adapt: Adapt | None
) -> dict[str, Array]:
    """Return the results of the functions in ``adapt``, by name in the target."""
    if adapt is None:
        return {}
    if not isinstance(adapt, Mapping):
        raise DTypeError(
            "expected adapt to be a mapping of names of the target to functions, such "
            f'as {{"conv1.weight": lambda w: w[:, :1]}}, got {type(adapt).__name__}'
        )
    adapted: dict[str, Array] = {}
    for key, function in adapt.items():
        _check_is_function(key, function)
        names = _adapted_names(key, function)
        for position, name in enumerate(names):
            if name in adapted or name in names[:position]:
                raise ChannelError(
                    f"adapt must contain each name once, got {name!r} twice"
                )
            _check_adaptable(name, targets, candidates)
        # Pass copies: a function may write to its arguments.
        results = function(*(candidates[name].copy() for name in names))
        if isinstance(key, str):
            results = (results,)
        _check_results(results, names)
        for name, result in zip(names, results, strict=True):
            adapted[name] = _cast_result(result, name, targets[name])
    return adapted


def _check_is_function(key: Any, function: Any) -> None:
    """Raise DTypeError if ``function`` is a channel map or a plan.

    Both can be called, but on images: nothing says which axes of a kernel are its
    bands.
    """
    # Plan is in a higher layer (docs/architecture.md), so it is not imported here.
    is_plan = hasattr(function, "unit_map")
    if not is_plan and not isinstance(function, ChannelMap):
        return
    kind, text, channel_map = "channel map", "channel_map", function
    if is_plan:
        kind, text, channel_map = "plan", "plan.unit_map", function.unit_map
    names = repr(key)
    fold = f"lambda w: gp.weights.fold(w, None, {text}, layout='OIHW')[0]"
    # An offset becomes a part of the bias.
    if isinstance(key, tuple) or any(channel_map.offset):
        fold = f"lambda w, b: gp.weights.fold(w, b, {text}, layout='OIHW')"
        if isinstance(key, str):
            names = f"({key!r}, <name of the bias>)"
    raise DTypeError(
        f"adapt takes functions of arrays, because a {kind} does not know the layout "
        f"of a kernel, got one for {key!r}: pass\n    adapt={{{names}: {fold}}}\n"
        "for torch, or layout='HWIO' for Keras; transfer_into of the adapters takes "
        "plans and maps"
    )


def _adapted_names(key: Any, function: Any) -> tuple[str, ...]:
    """Return the names in a key of ``adapt``, or raise DTypeError for a bad entry."""
    names = key
    if isinstance(key, str):
        names = (key,)
    if not isinstance(names, tuple) or not callable(function):
        raise DTypeError(
            "expected adapt to map a name of the target, or a tuple of names, to a "
            f"function, got {key!r} and {type(function).__name__}"
        )
    return names


def _check_adaptable(
    name: str, targets: Mapping[str, Array], candidates: Mapping[str, Array]
) -> None:
    """Raise ChannelError unless both target and source have the weight ``name``."""
    if name not in targets:
        raise ChannelError(
            f"adapt contains {name!r}, but the target has no such weight: it has "
            f"{_list_names(targets)}"
        )
    if name in candidates:
        return
    message = (
        f"adapt contains {name!r}, but no weight of the source has this name after "
        f"renaming; available: {_list_names(candidates)}"
    )
    if name.endswith("bias"):
        # A layer without a bias is the usual reason. A bias of zeros is equivalent.
        message += (
            "; for a layer without a bias, add zeros to the mapping of weights, such "
            "as a state dict: pass "
            f"{{**source, {name!r}: np.zeros({targets[name].shape})}}"
        )
    raise ChannelError(message)


def _check_results(results: Any, names: tuple[str, ...]) -> None:
    """Raise an error unless a function of ``adapt`` returned one weight per name.

    The error is a DTypeError for a wrong type, a ChannelError for a wrong number.
    """
    if not isinstance(results, tuple | list):
        raise DTypeError(
            f"the function for {names} in adapt must return a tuple of "
            f"{len(names)} weights, got {type(results).__name__}"
        )
    if len(results) != len(names):
        raise ChannelError(
            f"the function for {names} in adapt must return {len(names)} weights, got "
            f"{len(results)}"
        )


def _cast_result(result: ArrayLike, name: str, target: Array) -> Array:
    """Return a result of ``adapt`` in the dtype of the target, if its shape matches."""
    weight = as_array(result, f"the result of adapt for {name!r}")
    mismatch = _mismatch(weight, target)
    if mismatch:
        raise LayoutError(
            f"the result of adapt for {name!r} does not match the target: {mismatch}"
        )
    return cast(weight, target.dtype, repr(name))


def _skip_reason(
    new_name: str | None,
    targets: Mapping[str, Array],
    candidates: Mapping[str, Array],
) -> str:
    """Return why a weight of the source is not used, for the report."""
    if new_name is None:
        return "left out by rename"
    if new_name not in targets:
        return f"the target has no {new_name!r}"
    return _mismatch(candidates[new_name], targets[new_name])


def _mismatch(weight: Array, target: Array) -> str:
    """Return why ``weight`` cannot replace ``target``, or "" if it can."""
    if weight.shape != target.shape:
        return f"shape {weight.shape}, the target's is {target.shape}"
    both_floating = fits_float64(weight.dtype) and fits_float64(target.dtype)
    if weight.dtype != target.dtype and not both_floating:
        return f"dtype {weight.dtype}, the target's is {target.dtype}"
    return ""


def _list_names(names: Collection[str]) -> str:
    """Return the first few names, quoted, for an error message."""
    if not names:
        return "none"
    listed = ", ".join(repr(name) for name in list(names)[:MAX_LISTED_NAMES])
    remaining = len(names) - MAX_LISTED_NAMES
    if remaining > 0:
        return f"{listed} and {remaining} more"
    return listed
