"""Draw the pictures of the documents: `uv run docs/pictures.py`.

The pictures are generated from what they show: the questions, the list of layers, and a real
session at the prompts. A test compares them with those in `docs/pictures/`.
"""

import ast
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
TREE = ROOT / "{{cookiecutter.project_slug}}"
CONTEXT = json.loads((ROOT / "cookiecutter.json").read_text(encoding="utf-8"))
PROMPTS = CONTEXT["__prompts__"]

# What the recording types; Enter at all other prompts.
TYPED = {
    "project_name": "Orders",
    "use_rate_limit": "y",
    "database": "2",
    "jwt": "3",
    "use_websocket": "y",
}

FONT = "ui-monospace, SFMono-Regular, Menlo, Consolas, monospace"
# Classes, so that a picture has the colours of a light page or of a dark one.
INK, DIM, BLUE, GREEN = "ink", "dim", "blue", "green"
STYLE = """
.ink {fill: #1f2328} .dim {fill: #59636e} .blue {fill: #0550ae} .green {fill: #116329}
.arrow {fill: none; stroke: #1f2328; stroke-width: 1.5}
.paper {fill: #fff; stroke: #d1d9e0} .always {fill: #f6f8fa; stroke: #59636e}
.default {fill: #dafbe1; stroke: #116329}
.optional {fill: #fff; stroke: #0550ae; stroke-dasharray: 4 3}
@media (prefers-color-scheme: dark) {
.ink {fill: #e6edf3} .dim {fill: #9198a1} .blue {fill: #79c0ff} .green {fill: #7ee787}
.arrow {stroke: #e6edf3}
.paper {fill: #0d1117; stroke: #30363d} .always {fill: #161b22; stroke: #9198a1}
.default {fill: #12261e; stroke: #7ee787} .optional {fill: #0d1117; stroke: #79c0ff}
}
/* Without motion, all lines are visible from the start. */
@media (prefers-reduced-motion: no-preference) {.line {animation: appear 0s backwards}}
@keyframes appear {from {opacity: 0}}
"""
# The largest width of a character at 14 pixels, in any of these fonts.
WIDTH = 8.7
ROW = 22
# Seconds between two lines of the recording.
PACE = 0.25

Span = tuple[str, str]
"""A text and the class of its colour."""


class Layer(NamedTuple):
    """A layer of the stack. `question`: the one that adds it; None if it is always on."""

    name: str
    question: str | None
    about: str


def layers() -> list[Layer]:
    """Return the layers that `stack()` of the template lists, outermost first."""
    path = TREE / "app" / "stack.py"
    lines = path.read_text(encoding="utf-8").splitlines()
    stack = next(
        node
        for node in ast.parse("\n".join(lines)).body
        if isinstance(node, ast.FunctionDef) and node.name == "stack"
    )
    listed = next(node.value for node in stack.body if isinstance(node, ast.AnnAssign))
    assert isinstance(listed, ast.List)
    found = []
    for element in listed.elts:
        call = element.value if isinstance(element, ast.Starred) else element
        assert isinstance(call, ast.Call)
        assert isinstance(call.func, ast.Attribute)
        name = ast.unparse(call.func.value)
        condition = re.search(r"{% if cookiecutter\.(\w+)", lines[element.lineno - 2])
        found.append(Layer(name, condition[1] if condition else None, about(name)))
    return found


def about(name: str) -> str:
    """Return the first line of the docstring of a layer's module."""
    path = TREE / "app" / "middleware" / f"{name}.py"
    if not path.exists():
        path = TREE / "app" / "core" / f"{name}.py"
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert docstring
    return docstring.splitlines()[0].removesuffix(".")


def is_default(question: str) -> bool:
    """Whether the default answer to a question turns its option on."""
    default = CONTEXT[question]
    return default is True or (isinstance(default, list) and default[0] != "none")


def draw_stack() -> str:
    """Draw the layers from outside in, with the path of a request through them."""
    rows = [*layers(), Layer("app/api/routes", None, "Your routes")]
    left, top, column = 40, 64, 176
    longest = max(len(layer.about) for layer in rows)
    width = round(2 * left + column + WIDTH * longest + 12)
    body = []
    for number, layer in enumerate(rows):
        y = top + number * 36
        if layer.question is None:
            colour, box = DIM, "always"
        elif is_default(layer.question):
            colour, box = GREEN, "default"
        else:
            colour, box = BLUE, "optional"
        size = f'width="{width - 2 * left}" height="28" rx="5"'
        body += [
            f'<rect class="{box}" x="{left}" y="{y}" {size}/>',
            text(left + 12, y + 19, [(layer.name, colour)], bold=True),
            text(left + column, y + 19, [(layer.about, INK)]),
        ]
    bottom = top + len(rows) * 36 - 8
    body += [
        arrow(left // 2, top - 8, bottom),
        arrow(width - left // 2, bottom, top - 8),
        text(12, 28, [("request", INK)]),
        text(width - 12, 28, [("response", INK)], anchor="end"),
        text(
            width // 2,
            28,
            [("always on   ", DIM), ("on by default   ", GREEN), ("optional", BLUE)],
            anchor="middle",
        ),
    ]
    return svg(width, bottom + 20, body, "The layers of a service, outermost first")


def arrow(x: int, start: int, end: int) -> str:
    """Draw a vertical arrow."""
    tip = end - 6 if end > start else end + 6
    return f'<path class="arrow" d="M{x} {start}V{end}M{x - 5} {tip}L{x} {end}L{x + 5} {tip}"/>'


def draw_prompts() -> str:
    """Draw the questions with their choices, the default of each in green."""
    rows: list[list[Span]] = []
    for question, default in CONTEXT.items():
        if question.startswith("_"):
            continue
        prompt = PROMPTS[question]
        if isinstance(default, list):
            rows.append([(prompt["__prompt__"], INK)])
            for choice in default:
                marked = choice == default[0]
                colour = GREEN if marked else DIM
                rows.append([("  * " if marked else "    ", GREEN), (prompt[choice], colour)])
        elif isinstance(default, bool):
            answers = [("yes", GREEN), ("no", DIM)] if default else [("yes", DIM), ("no", GREEN)]
            rows.append([(prompt, INK), (" ", INK), answers[0], ("/", DIM), answers[1]])
        else:
            shown = "from the name" if "{{" in default else default
            rows.append(
                [(prompt, INK), (" " if prompt.endswith("?") else ": ", INK), (shown, GREEN)]
            )
    return terminal(rows, "The questions and their defaults")


def draw_recording() -> str:
    """Draw a session at the prompts, one line after the other."""
    return terminal(list(session()), "A session at the prompts", pace=PACE)


def session() -> Iterator[list[Span]]:
    """Generate a service, and yield the lines of the terminal."""
    questions = [name for name in CONTEXT if not name.startswith("_")]
    typed = [TYPED.get(question, "") for question in questions]
    yield [("$ ", GREEN), ("uvx cookiecutter gh:OWNER/REPO", INK)]
    output = run("\n".join([*typed, ""]))
    parts = re.split(r"(?<=: ) *(?=\[\d+/\d+\] )", output.lstrip())
    for answer, part in zip(typed, parts, strict=True):
        # After the last question comes the output of the hook.
        prompt, end, said = part.partition("): ")
        *lines, last = prompt.split("\n")
        yield from ([(line, INK)] for line in lines)
        yield [(last + end, INK), (answer, GREEN)]
        yield from ([(line, DIM)] for line in said.rstrip().split("\n") if said.strip())


def run(typed: str) -> str:
    """Return the output of the command after this input."""
    with tempfile.TemporaryDirectory() as directory:
        home = {"HOME": directory, "USERPROFILE": directory, "PYTHONUTF8": "1"}
        result = subprocess.run(
            [sys.executable, "-m", "cookiecutter", str(ROOT), "-o", f"{directory}/out"],
            env=os.environ | home | {"COLUMNS": "80", "TERM": "dumb"},
            input=typed,
            capture_output=True,
            check=True,
            encoding="utf-8",
        )
    return result.stdout


def terminal(rows: list[list[Span]], title: str, pace: float = 0) -> str:
    """Draw lines of a terminal. `pace`: seconds between the appearance of two lines."""
    body = []
    for number, spans in enumerate(rows):
        delay = f' class="line" style="animation-delay:{number * pace:g}s"' if pace else ""
        body.append(text(20, 34 + number * ROW, spans, attributes=delay))
    width = max(sum(len(part) for part, _ in spans) for spans in rows)
    return svg(round(40 + width * WIDTH), 36 + len(rows) * ROW, body, title)


def text(
    x: int,
    y: int,
    spans: list[Span],
    *,
    bold: bool = False,
    anchor: str = "start",
    attributes: str = "",
) -> str:
    """Draw a line of text."""
    weight = ' font-weight="bold"' if bold else ""
    parts = "".join(f'<tspan class="{colour}">{escape(part)}</tspan>' for part, colour in spans)
    return (
        f'<text x="{x}" y="{y}" text-anchor="{anchor}" xml:space="preserve"{weight}{attributes}>'
        f"{parts}</text>"
    )


def svg(width: int, height: int, body: list[str], title: str) -> str:
    """Return a picture."""
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}"'
            f' width="{width}" role="img" font-family="{FONT}" font-size="14">',
            f"<title>{escape(title)}</title>",
            f"<style>{STYLE}</style>",
            f'<rect class="paper" width="{width}" height="{height}" rx="10"/>',
            *body,
            "</svg>",
            "",
        ]
    )


def pictures() -> dict[str, str]:
    """Return all pictures by their file names."""
    return {
        "prompts.svg": draw_prompts(),
        "recording.svg": draw_recording(),
        "stack.svg": draw_stack(),
    }


def main() -> None:
    """Write the pictures."""
    directory = ROOT / "docs" / "pictures"
    directory.mkdir(exist_ok=True)
    for name, picture in pictures().items():
        (directory / name).write_text(picture, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
