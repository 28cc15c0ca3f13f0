"""Transferring: weights go from one model into another by name and shape, and what happens to each is reported."""

from collections.abc import Callable, Collection, Hashable, Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import ArrayLike, NDArray

from ..errors import ChannelError, DTypeError, LayoutError
from .arrays import as_array, in_dtype, is_floating

Array = NDArray[Any]
Weights = Mapping[str, ArrayLike]
Rename = Mapping[str, str | None] | Callable[[str], str | None]
Adapt = Mapping[str | tuple[str, ...], Callable[..., Any]]


@dataclass(frozen=True)
class Report:
    """What `transfer` did, and to whom; printed, it is a table.

    ``copied``, ``adapted`` and ``untouched`` are names of the target, all of them; ``skipped`` are names of the source
    that went nowhere, each with the reason.
    """

    copied: tuple[str, ...]
    adapted: tuple[str, ...]
    skipped: tuple[tuple[str, str], ...]
    untouched: tuple[str, ...]

    def __str__(self) -> str:
        rows = [
            *(("copied", name, "") for name in self.copied),
            *(("adapted", name, "") for name in self.adapted),
            *(("skipped", name, why) for name, why in self.skipped),
            *(("untouched", name, "") for name in self.untouched),
        ]
        width = max((len(name) for _, name, _ in rows), default=0)
        head = (
            f"copied {len(self.copied)}, adapted {len(self.adapted)}, "
            f"skipped {len(self.skipped)}, untouched {len(self.untouched)}"
        )
        return "\n".join(
            [
                head,
                *(
                    f"{what:<9}  {name:<{width}}  {why}".rstrip()
                    for what, name, why in rows
                ),
            ]
        )


def transfer(
    target: Weights,
    source: Weights,
    *,
    rename: Rename | None = None,
    adapt: Adapt | None = None,
) -> tuple[dict[str, Array], Report]:
    """Return the weights of ``target`` with those of ``source`` in their place, and a `Report` of what became of each.

    Both map names to arrays, as a state dict does. A weight is copied where name and shape are those of the target;
    anything else is skipped, and the report says why. Floats take the target's dtype, other dtypes must be the same.

    ``rename``: what a name of the source is called in the target, a mapping (other names stay) or a function; None
    leaves that weight out. ``adapt``: functions by name in the target: each gets the weight of the source and returns
    the one to store, whose shape is the target's. A tuple of names stands for as many weights in and out::

        adapt={("conv1.weight", "conv1.bias"): lambda w, b: gp.weights.fold(w, b, channel_map, layout="OIHW")}

    The weights have the target's names in its order, and are fresh; nothing that was passed is modified. ChannelError
    for names in ``rename`` or ``adapt`` that are not there, and where two weights would become one; LayoutError where
    an adapted weight does not fit; DTypeError for what is no array, no name or no function; RangeError where a value
    overflows its dtype.
    """
    for what, weights in (("target", target), ("source", source)):
        if not isinstance(weights, Mapping):
            raise DTypeError(
                f"{what} maps names to arrays, as a state dict does, got {type(weights).__name__}"
            )
        unnamed = [name for name in weights if not isinstance(name, str)]
        if unnamed:
            raise DTypeError(
                f"{what} maps names to arrays, got {unnamed[0]!r} for a name: names are strings"
            )
    held = {
        name: as_array(value, f"{name!r} of the target")
        for name, value in target.items()
    }
    ways = _ways(source, rename)
    arrived = {
        new: as_array(source[old], f"{old!r} of the source")
        for old, new in ways.items()
        if new in held
    }
    adapted = _adapted(held, arrived, adapt)
    copied = {
        name: in_dtype(weight, held[name].dtype, repr(name))
        for name, weight in arrived.items()
        if name not in adapted and not _misfit(weight, held[name])
    }
    made = {**copied, **adapted}
    report = Report(
        copied=tuple(name for name in held if name in copied),
        adapted=tuple(name for name in held if name in adapted),
        skipped=tuple(
            (old, _why(new, held, arrived))
            for old, new in ways.items()
            if new not in made
        ),
        untouched=tuple(name for name in held if name not in made),
    )
    return {
        name: made[name] if name in made else own.copy() for name, own in held.items()
    }, report


def resolve_tied_weights(
    report: Report, made: Mapping[str, Array], places: Mapping[str, Hashable]
) -> Report:
    """Return ``report`` where names of one weight, those of equal ``places``, share what becomes of it.

    ``made`` and ``places`` are by the target's names. ChannelError where such names would get different values.
    """
    became = {
        name: what for what in ("copied", "adapted") for name in getattr(report, what)
    }
    first: dict[Hashable, str] = {}
    for name in became:
        other = first.setdefault(places[name], name)
        if made[other].tobytes() != made[name].tobytes():
            raise ChannelError(
                f"{other!r} and {name!r} are one weight of the target, and would get different values: leave one out, "
                f"by renaming it to None"
            )
    shared = {
        name: became.get(first.get(place, ""), "untouched")
        for name, place in places.items()
    }
    copied, adapted, untouched = (
        tuple(name for name in shared if shared[name] == what)
        for what in ("copied", "adapted", "untouched")
    )
    return Report(copied, adapted, report.skipped, untouched)


def check_rename(rename: Any) -> None:
    """Raise DTypeError for what renames nothing."""
    if not (rename is None or callable(rename) or isinstance(rename, Mapping)):
        raise DTypeError(
            f"rename maps names of the source to those of the target, or is a function that does, got "
            f"{type(rename).__name__}"
        )


def _ways(source: Weights, rename: Rename | None) -> dict[str, str | None]:
    """Return what each name of the source is called in the target, None for what is left out."""
    check_rename(rename)
    if isinstance(rename, Mapping):
        unknown = [name for name in rename if name not in source]
        if unknown:
            raise ChannelError(
                f"rename speaks of {unknown[0]!r}, which the source has not: it has {_some(source)}"
            )
        ways = {old: rename.get(old, old) for old in source}
    else:
        ways = {old: old if rename is None else rename(old) for old in source}
    first: dict[str, str] = {}
    for old, new in ways.items():
        if new is not None and first.setdefault(new, old) != old:
            raise ChannelError(
                f"{first[new]!r} and {old!r} of the source would both become {new!r}: rename one of them to None, "
                f"which leaves it out"
            )
    return ways


def _adapted(
    held: Mapping[str, Array], arrived: Mapping[str, Array], adapt: Adapt | None
) -> dict[str, Array]:
    """Return what the functions of ``adapt`` make of the source's weights ``arrived``, all by name in the target."""
    if adapt is not None and not isinstance(adapt, Mapping):
        raise DTypeError(
            f'adapt maps names of the target to functions, such as {{"conv1.weight": lambda w: w[:, :1]}}, got '
            f"{type(adapt).__name__}"
        )
    made: dict[str, Array] = {}
    for key, function in (adapt or {}).items():
        names = (key,) if isinstance(key, str) else key
        if not isinstance(names, tuple) or not callable(function):
            raise DTypeError(
                f"adapt maps a name of the target, or a tuple of names, to a function of the weight, got {key!r} and "
                f"{type(function).__name__}"
            )
        for name in names:
            if name in made or names.count(name) > 1:
                raise ChannelError(f"adapt takes each name once, got {name!r} again")
            if name not in held:
                raise ChannelError(
                    f"adapt names weights of the target, which has no {name!r}: it has {_some(held)}"
                )
            if name not in arrived:
                zeros = f"; a layer without a bias is one of zeros: pass {{**source, {name!r}: np.zeros(outputs)}}"
                raise ChannelError(
                    f"adapt gets {name!r} from the source, which, renamed, has no such weight: of the target's names "
                    f"it has {_some(arrived)}{zeros if name.endswith('bias') else ''}"
                )
        results = function(*(arrived[name].copy() for name in names))
        results = (results,) if isinstance(key, str) else results
        if not isinstance(results, tuple | list):
            raise DTypeError(
                f"adapt makes of {names} a tuple of as many weights, got {type(results).__name__}"
            )
        if len(results) != len(names):
            raise ChannelError(
                f"adapt makes as many weights as it takes, of {names} it made {len(results)}"
            )
        made |= {
            name: _fitted(result, name, held[name])
            for name, result in zip(names, results, strict=True)
        }
    return made


def _fitted(result: ArrayLike, name: str, own: Array) -> Array:
    weight = as_array(result, f"what adapt makes of {name!r}")
    why = _misfit(weight, own)
    if why:
        raise LayoutError(
            f"what adapt makes of {name!r} does not fit the target: {why}"
        )
    return in_dtype(weight, own.dtype, repr(name))


def _why(
    new: str | None, held: Mapping[str, Array], arrived: Mapping[str, Array]
) -> str:
    """Return why a weight of the source, called ``new`` in the target, went nowhere."""
    if new is None:
        return "left out by rename"
    return (
        _misfit(arrived[new], held[new])
        if new in held
        else f"the target has no {new!r}"
    )


def _misfit(weight: Array, own: Array) -> str:
    """Return why ``weight`` cannot stand where ``own`` does, or nothing where it can."""
    if weight.shape != own.shape:
        return f"shape {weight.shape}, the target's is {own.shape}"
    if weight.dtype != own.dtype and not (
        is_floating(weight.dtype) and is_floating(own.dtype)
    ):
        return f"dtype {weight.dtype}, the target's is {own.dtype}"
    return ""


def _some(names: Collection[str]) -> str:
    shown = ", ".join(repr(name) for name in list(names)[:5])
    return f"{shown} and {len(names) - 5} more" if len(names) > 5 else shown or "none"
