"""Tables in Markdown."""


def rows_of(table):
    """Return the cells of each row of Markdown tables, without their rules."""
    return [
        [cell.strip() for cell in line.strip("|").split(" | ")]
        for line in table.splitlines()
        if line.startswith("| ") and not line.startswith("| ---")
    ]
