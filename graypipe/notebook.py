"""Tables with which notebooks display plans, sources and statistics."""

from collections.abc import Iterable, Sequence
from html import escape


def table(
    title: str, rows: Iterable[Sequence[object]], header: Sequence[str] = ()
) -> str:
    """Return a table in HTML.

    Parameters
    ----------
    title : str
        The caption, which is shown as code.
    rows : iterable of sequence
        The cells; the first one of a row is its name.
    header : sequence of str, optional
        The names of the columns.

    Returns
    -------
    str
        The table. All texts are escaped.

    Examples
    --------
    >>> table("gray", [("bits", 12)])
    '<table><caption><code>gray</code></caption><tr><th>bits</th><td>12</td></tr></table>'
    """
    lines = []
    if header:
        lines.append("".join(f"<th>{escape(name)}</th>" for name in header))
    for name, *cells in rows:
        line = f"<th>{escape(str(name))}</th>"
        for cell in cells:
            line += f"<td>{escape(str(cell))}</td>"
        lines.append(line)
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f"<table><caption><code>{escape(title)}</code></caption>{body}</table>"
