"""A table that is one to a screen reader, and a list of cards on a phone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fleetd.ops.page.html import Child, Markup, tag


def table(
    caption: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[Child]],
    *,
    class_: str = "",
    keys: Sequence[str] = (),
) -> Markup:
    """A table with a caption for those who do not see it; the first cell of a row is its header.

    The roles are said although tables have them: a style that lays rows out as a grid takes them away.

    Args:
        caption: what the table is.
        columns: headings.
        rows: cells, as many as columns.
        class_: of the table.
        keys: what identifies each row, so that the live page moves it rather than rewriting it.
    """
    body = [
        tag(
            "tr",
            [
                tag("th", cell, role="rowheader", scope="row")
                if number == 0
                else tag("td", cell, role="cell", data_label=columns[number])
                for number, cell in enumerate(row)
            ],
            role="row",
            data_key=keys[index] if keys else None,
        )
        for index, row in enumerate(rows)
    ]
    heads = [tag("th", column, role="columnheader", scope="col") for column in columns]
    return tag(
        "table",
        tag("caption", caption, class_="unseen"),
        tag("thead", tag("tr", heads, role="row"), role="rowgroup"),
        tag("tbody", body, role="rowgroup"),
        role="table",
        class_=class_ or None,
    )
