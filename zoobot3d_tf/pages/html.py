"""Parts of HTML pages: what all pages share, and the elements of the report. All text in elements is escaped."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from string import Template

import numpy as np
from PIL import Image

from zoobot3d_tf.files import PathLike, check_output, path_of
from zoobot3d_tf.images.masks import MASK_TITLES
from zoobot3d_tf.images.overlay import BAR_COLOUR, SPIRAL_COLOUR
from zoobot3d_tf.predictions.results import INTERVAL_LEVEL

SUFFIXES = (".html", ".htm")
"""Suffixes of pages."""

INTERVAL = f"{INTERVAL_LEVEL:.0%}"
"""Probability of the predicted intervals as text: '90%'."""

# Pixels. Images are shown about 340 pixels wide; larger ones would only make the file larger.
_MAX_SIDE = 380

_BAR_WIDTH, _BAR_HEIGHT = 114, 14

PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
:root {
  color-scheme: light dark;
  --paper: #f4f5f7; --card: #fff; --ink: #1c2230; --quiet: #69728a; --line: #dfe3ea; --track: #e9ecf2;
  --predicted: #7f9bd1; --interval: #27407a; --volunteers: #c2185b; --spiral: $spiral; --bar: $bar;
}
@media (prefers-color-scheme: dark) { :root {
  --paper: #11141b; --card: #1a1f29; --ink: #e6e9f0; --quiet: #929cb3; --line: #2c3341; --track: #272d3a;
  --predicted: #4a6aa8; --interval: #b9cbf5; --volunteers: #ff6f9f;
} }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, Helvetica, sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 28px 20px 60px; }
h1 { font-size: 28px; line-height: 1.2; margin: 0 0 4px; }
h2 { font-size: 19px; margin: 36px 0 8px; }
p { margin: 0 0 10px; max-width: 110ch; }
.quiet { color: var(--quiet); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(225px, 1fr)); gap: 14px; margin: 22px 0 8px; }
.tile, .scroll, .card { background: var(--card); border: 1px solid var(--line); border-radius: 10px; }
.tile { padding: 14px 16px; font-size: 13px; }
.tile b { display: block; font-size: 30px; line-height: 1.25; font-variant-numeric: tabular-nums; }
.tile em { font-style: normal; font-weight: 600; }
.scroll { overflow-x: auto; padding: 6px 4px; }
.says { padding-left: 20px; max-width: 110ch; }
.says li { margin: 0 0 8px; }
.plots { display: grid; grid-template-columns: repeat(auto-fill, minmax(320px, 1fr)); gap: 14px; }
.plot { background: #fff; border: 1px solid var(--line); border-radius: 10px; padding: 8px; break-inside: avoid; }
.plot svg { width: 100%; height: auto; }
.plots + .scroll { margin-top: 14px; }
.scroll + p { font-size: 13px; margin-top: 10px; }
table { width: 100%; border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 14px; }
th, td { padding: 5px 10px; text-align: right; border-bottom: 1px solid var(--line); white-space: pre-line; }
tr:last-child td { border-bottom: 0; }
th { font-weight: 600; vertical-align: bottom; line-height: 1.3; }
td { line-height: 1.3; }
th:first-child, td:first-child { text-align: left; }
tr.all td { font-weight: 600; }
.key { display: flex; flex-wrap: wrap; gap: 6px 22px; font-size: 13px; margin: 8px 0 14px; align-items: center; }
.swatch { display: inline-block; width: 22px; height: 12px; border-radius: 3px; margin-right: 6px; border: 2px solid; }
.swatch.spiral { background: color-mix(in srgb, var(--spiral) 45%, #223); border-color: var(--spiral); }
.swatch.bar { background: color-mix(in srgb, var(--bar) 45%, #223); border-color: var(--bar); }
.card { padding: 16px 18px 14px; margin: 0 0 18px; break-inside: avoid; }
.card h3 { font-size: 16px; margin: 0 0 10px; overflow-wrap: anywhere; }
.pictures { display: grid; grid-template-columns: repeat(3, 1fr); gap: 12px; }
.thumbnails { display: grid; grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); gap: 12px; }
figure { margin: 0; }
figure img { display: block; width: 100%; border-radius: 6px; background: #000; }
figcaption { font-size: 13px; margin-top: 4px; }
.nothing { display: grid; place-items: center; aspect-ratio: 1; border-radius: 6px; background: var(--track);
  color: var(--quiet); font-size: 13px; }
.votes { columns: 3 300px; column-gap: 26px; margin-top: 14px; font-size: 13px; }
.question { break-inside: avoid; margin: 0 0 10px; }
.question h4 { font-size: 13px; margin: 0 0 2px; }
.question h4 span { font-weight: 400; }
.answer { display: grid; grid-template-columns: 1fr $width 36px 42px; gap: 5px; align-items: center;
  line-height: 1.35; }
.answer span { text-align: right; font-variant-numeric: tabular-nums; }
.answer span:first-child { text-align: left; }
.unlikely { font-size: 12px; margin: 6px 0 0; max-width: none; }
svg { display: block; }
svg .track { fill: var(--track); } svg .predicted { fill: var(--predicted); }
svg .interval { stroke: var(--interval); stroke-width: 1.5; fill: none; } svg .volunteers { fill: var(--volunteers); }
.inline { display: inline-block; vertical-align: -2px; margin-right: 6px; }
@media (max-width: 640px) { .pictures { grid-template-columns: 1fr; } }
@page { margin: 10mm; }
@media print {
  :root { color-scheme: light; --paper: #fff; --card: #fff; --ink: #000; --quiet: #555; --line: #ccc; --track: #e9ecf2;
    --predicted: #7f9bd1; --interval: #27407a; --volunteers: #c2185b; }
  body { zoom: 0.64; print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  main { max-width: none; padding: 0; }
  h2 { break-after: avoid; }
  .scroll { break-inside: avoid; }
}
</style>
</head>
<body>
<main>
$content
</main>
</body>
</html>
""")


@dataclass(frozen=True)
class Bar:
    """Predicted and observed votes for an answer.

    Attributes:
        label: text of the answer.
        fraction: expected vote fraction, 0..1.
        low: lower end of the predicted interval, 0..1.
        high: upper end of the predicted interval, 0..1.
        n_votes: number of volunteers who gave the answer.
        n_asked: number of volunteers who answered the question.
    """

    label: str
    fraction: float
    low: float
    high: float
    n_votes: int
    n_asked: int


def check_page(out: PathLike) -> Path:
    """Check the path of a page before the work, and make its folder if it is missing.

    Returns:
        The path.

    Raises:
        ValueError: the path does not end in .html or .htm.
        OSError: the path is a folder, or its folder cannot be made or written.
    """
    out = path_of(out)
    check_output(out.absolute(), "page", SUFFIXES)
    return out


def jpeg_uri(picture: Image.Image, **options: int) -> str:
    """Encode a picture as a data URI of a JPEG, with options of Pillow."""
    content = io.BytesIO()
    picture.save(content, "JPEG", **options)
    return "data:image/jpeg;base64," + base64.b64encode(content.getvalue()).decode("ascii")


def encode_numbers(numbers: np.ndarray) -> str:
    """Encode numbers as float32, little-endian, in base64. This is what the scripts of the pages read."""
    return base64.b64encode(np.ascontiguousarray(numbers, "<f4").tobytes()).decode("ascii")


def page(title: str, content: Sequence[str]) -> str:
    """Assemble the page of the report from parts in HTML."""
    colours = {"spiral": _css(SPIRAL_COLOUR), "bar": _css(BAR_COLOUR), "width": f"{_BAR_WIDTH}px"}
    return PAGE.substitute(title=escape(title), content="\n".join(content), **colours)


def heading(text: str, level: int = 1) -> str:
    """A heading."""
    return f"<h{level}>{escape(text)}</h{level}>"


def note(text: str) -> str:
    """A paragraph of explanation."""
    return f'<p class="quiet">{escape(text)}</p>'


def sentences(texts: Sequence[str]) -> str:
    """A list of sentences."""
    return "\n".join(['<ul class="says">', *(f"<li>{escape(text)}</li>" for text in texts), "</ul>"])


def plots(drawings: Sequence[str]) -> str:
    """Drawings side by side, each an `<svg>` element."""
    return "\n".join(['<div class="plots">', *map(plot, drawings), "</div>"])


def plot(drawing: str) -> str:
    """A drawing, an `<svg>` element, as wide as the page."""
    return f'<div class="plot">{drawing}</div>'


def tiles(figures: Sequence[tuple[str, str, str]]) -> str:
    """Tiles with the main figures, each a name, a number and an explanation."""
    lines = [
        f'<div class="tile"><em>{escape(name)}</em><b>{escape(number)}</b>{_quiet(meaning)}</div>'
        for name, number, meaning in figures
    ]
    return "\n".join(['<div class="tiles">', *lines, "</div>"])


def table(header: Sequence[str], rows: Sequence[Sequence[str]], total: Sequence[str] | None = None) -> str:
    """A table; the total is its last row, in bold."""
    lines = [f"<tr>{''.join(f'<th>{escape(name)}</th>' for name in header)}</tr>"]
    lines += [f"<tr>{_cells(row)}</tr>" for row in rows]
    if total is not None:
        lines.append(f'<tr class="all">{_cells(total)}</tr>')
    return "\n".join(['<div class="scroll"><table>', *lines, "</table></div>"])


def key() -> str:
    """The key of the colours and symbols in the cards."""
    bar = _bar_svg(Bar("", 0.55, 0.3, 0.8, 0, 0), "inline")
    diamond = f'<svg class="inline" width="12" height="12">{_diamond(6, 6)}</svg>'
    return (
        '<div class="key">'
        f'<span><i class="swatch spiral"></i>{MASK_TITLES["spiral_mask"]}</span>'
        f'<span><i class="swatch bar"></i>{MASK_TITLES["bar_mask"]}</span>'
        f"<span>{bar}predicted vote fraction with its {INTERVAL} interval</span>"
        f"<span>{diamond}observed vote fraction of the volunteers</span></div>"
    )


def card(name: str, pictures: Sequence[str], votes: Sequence[str], unlikely: str) -> str:
    """A card of one galaxy: pictures side by side, then questions, then a line about unlikely questions."""
    return "\n".join(
        [
            f'<section class="card"><h3>{escape(name)}</h3>',
            '<div class="pictures">',
            *pictures,
            "</div>",
            f'<div class="votes">{"".join(votes)}</div>' if votes else "",
            f'<p class="quiet unlikely">{escape(unlikely)}</p>' if unlikely else "",
            "</section>",
        ]
    )


def figure(image: np.ndarray | None, caption: str, remark: str = "") -> str:
    """A picture, uint8 (H, W, 3), with its caption. If the picture is None: a frame with the words "not available"."""
    picture = (
        '<div class="nothing">not available</div>'
        if image is None
        else f'<img src="{_data_uri(image)}" alt="{escape(caption)}">'
    )
    return f"<figure>{picture}<figcaption>{escape(caption)} {_quiet(remark)}</figcaption></figure>"


def thumbnails(pictures: Sequence[str]) -> str:
    """Small pictures side by side, each made by `figure`."""
    return "\n".join(['<div class="thumbnails">', *pictures, "</div>"])


def question(text: str, remark: str, bars: Sequence[Bar]) -> str:
    """A question with one bar per answer."""
    return (
        f'<div class="question"><h4>{escape(text)} {_quiet(remark)}</h4>{"".join(_answer(bar) for bar in bars)}</div>'
    )


def _answer(bar: Bar) -> str:
    votes = f"{bar.n_votes}/{bar.n_asked}" if bar.n_asked else ""
    return (
        f'<div class="answer"><span>{escape(bar.label)}</span>{_bar_svg(bar)}'
        f"<span>{bar.fraction:.0%}</span>{_quiet(votes)}</div>"
    )


def _bar_svg(bar: Bar, css_class: str = "bar") -> str:
    middle, inner = _BAR_HEIGHT / 2, _BAR_WIDTH - 8  # with a margin of 4, symbols at 0 and 1 are not cut off
    fraction, low, high = (4 + inner * value for value in (bar.fraction, bar.low, bar.high))
    votes = _diamond(4 + inner * bar.n_votes / bar.n_asked, middle) if bar.n_asked else ""
    return (
        f'<svg class="{css_class}" width="{_BAR_WIDTH}" height="{_BAR_HEIGHT}">'
        f'<rect class="track" x="4" y="3" width="{inner}" height="8" rx="2"/>'
        f'<rect class="predicted" x="4" y="3" width="{fraction - 4:.1f}" height="8" rx="2"/>'
        f'<path class="interval" d="M{low:.1f} {middle}H{high:.1f}M{low:.1f} 4v6M{high:.1f} 4v6"/>{votes}</svg>'
    )


def _diamond(x: float, y: float) -> str:
    return f'<path class="volunteers" d="M{x - 4:.1f} {y}l4 -5 4 5 -4 5z"/>'


def _quiet(text: str) -> str:
    return f'<span class="quiet">{escape(text)}</span>'


def _cells(row: Sequence[str]) -> str:
    return "".join(f"<td>{escape(cell)}</td>" for cell in row)


def _data_uri(image: np.ndarray) -> str:
    picture = Image.fromarray(image)
    picture.thumbnail((_MAX_SIDE, _MAX_SIDE))
    # Without subsampling of colours, which would blur the thin coloured outlines.
    return jpeg_uri(picture, quality=82, subsampling=0)


def _css(colour: tuple[int, int, int]) -> str:
    return f"rgb({', '.join(map(str, colour))})"
