"""The bar chart in docs/performance.md: the time of a request."""

from collections.abc import Sequence
from html import escape

from measure import Table

WIDTH, LABEL, BAR, GAP = 720, 290, 18, 10
SHOWN = 6.0
# Lighter colours for a dark page. GitHub shows an image by the preference of the reader's system.
STYLE = """
  text {
    font: 13px system-ui, sans-serif; fill: #1f2328;
    paint-order: stroke; stroke: #fff; stroke-width: 4px;
  }
  .ours { fill: #0969da; } .other { fill: #8c959f; } .limit { stroke: #cf222e; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; stroke: #0d1117; } .ours { fill: #4493f8; } .other { fill: #6e7681; }
    .limit { stroke: #ff7b72; }
  }
"""


def draw(tables: Sequence[Table]) -> str:
    """Return a chart of the first table, which has the times of requests in process."""
    rows = [(row[0], float(row[-1].partition(" ")[0])) for row in tables[0].rows]
    limit = tables[0].targets[0].limit
    height = len(rows) * (BAR + GAP) + 40
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
        f"<title>{escape(tables[0].title)}: times bare</title><style>{STYLE}</style>",
    ]
    x, end = position(limit), height - 34
    parts += [
        f'<line class="limit" x1="{x:.0f}" x2="{x:.0f}" y1="0" y2="{end}" stroke-dasharray="4"/>',
        f'<text x="{x:.0f}" y="{height - 14}" text-anchor="middle">at most {limit:g}</text>',
    ]
    # After the line, so that it does not cross the labels.
    for number, (label, ratio) in enumerate(rows):
        parts += bar(label, ratio, top=number * (BAR + GAP))
    parts.append("</svg>")
    return "\n".join(parts) + "\n"


def bar(label: str, ratio: float, *, top: int) -> list[str]:
    """Return a bar with its labels. A bar that is too long for the chart is cut off."""
    kind = "ours" if "service" in label or "layers" in label or "without" in label else "other"
    end, middle = position(min(ratio, SHOWN)), top + BAR - 4
    more = " →" if ratio > SHOWN else ""
    return [
        f'<text x="{LABEL - 8}" y="{middle}" text-anchor="end">{escape(label)}</text>',
        f'<rect class="{kind}" x="{LABEL}" y="{top}" width="{end - LABEL:.0f}" height="{BAR}"/>',
        f'<text x="{end + 6:.0f}" y="{middle}">{ratio:.2f}{more}</text>',
    ]


def position(ratio: float) -> float:
    """Return the horizontal position of a ratio."""
    return LABEL + (WIDTH - LABEL - 70) * ratio / SHOWN
