"""Routing: which band feeds which where nobody has said so, and what to say where that is open."""

from . import bands as names
from .channels import ChannelMap, replicate, select


def default_via(inputs: tuple[str, ...], outputs: tuple[str, ...]) -> ChannelMap | None:
    """Return the map that needs no words, or None: the same bands by name, or one band repeated into many."""
    if set(inputs) == set(outputs):
        return select(outputs, of=inputs)
    if len(inputs) == 1 and len(outputs) > 1:
        return replicate(outputs, of=inputs)
    return None


def no_way(inputs: tuple[str, ...], outputs: tuple[str, ...]) -> str:
    """Return what to say where there is none: the mapping to paste, filled in as far as the names decide it."""
    choice = f"<one of {', '.join(inputs[:4])}{', ...' if len(inputs) > 4 else ''}>"
    mapping = {band: band if band in inputs else choice for band in outputs}
    weights = "{" + ", ".join(f'"{band}": "{origin}"' for band, origin in mapping.items()) + "}"
    unread = [band for band in inputs if band not in outputs]
    dropped = f"which does not read {unread}; " if unread and choice not in weights else ""
    gray = " For gray from RGB, via=gp.luminance()." if outputs == ("gray",) and set("RGB") <= set(inputs) else ""
    word = "".join(inputs)
    one = (
        f" One band called {word} is written ({word!r},)." if len(word) == len(inputs) > 1 and choice in weights else ""
    )
    return (
        f"the way from {names.show(inputs)} to {names.show(outputs)} is open: say which band feeds which, for example\n"
        f"    via={weights}\n"
        f'{dropped}a merge is written {{"R": {{"R": 0.5, "Y": 0.5}}}}.{gray}{one}'
    )
