"""What the page of a channel report is made of: column charts, the heat map and tables, as HTML and SVG.

Classes are those of the page's style sheet. Texts given to them are escaped here.
"""

import base64
import html
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from bytereel.logs import shown

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from bytereel_codec.channel.raster import Raster

BARS_MAX = 400
_WIDTH, _HEIGHT = 800, 150
_BAR_WIDTH_MAX = 48
_LABEL_WIDTH = 64
_HEAT_STOPS = (
    (0.0, (20, 24, 62)),
    (0.3, (110, 30, 120)),
    (0.6, (210, 70, 70)),
    (0.85, (250, 160, 50)),
    (1.0, (255, 240, 150)),
)
_NEVER_READ = (128, 128, 128)


def grouped(values: Sequence[int]) -> list[float]:
    """The values, or means of as many neighbours as leave no more than `BARS_MAX`."""
    each = max(1, -(-len(values) // BARS_MAX))
    groups = [values[i : i + each] for i in range(0, len(values), each)]
    return [sum(group) / len(group) for group in groups]


def labels_of(parts: Sequence[tuple[str, int]]) -> dict[int, str]:
    """Names of parts of so many values each, under the columns where they begin, as far as there is room."""
    total = sum(count for _, count in parts)
    each, start, free_from, labels = max(1, -(-total // BARS_MAX)), 0, 0.0, {}
    for name, count in parts:
        x = start // each * each * _WIDTH / total
        if x >= free_from:
            labels[start // each] = name
            free_from = x + _LABEL_WIDTH
        start += count
    return labels


def bar_chart(
    series: Iterable[tuple[str, Sequence[float]]],
    labels: Mapping[int, str],
    marks: Mapping[str, float] | None = None,
    *,
    limit: int | None = None,
    is_log: bool = False,
) -> str:
    """A column chart: each series (class, values) in front of the one before, from 0 up.

    `labels` stand under columns, `marks` over dashed lines at places along the axis, `limit` is a red line.
    """
    series = list(series)
    count, top = len(series[0][1]), max((max(values, default=0) for _, values in series), default=0) or 1
    step = _WIDTH / count

    def height(value: float) -> float:
        return _HEIGHT * (math.log10(1 + value) / math.log10(1 + top) if is_log else value / top)

    top_margin = 14 + 13 * len(marks or {})
    parts = [f'<svg viewBox="-60 {-top_margin} {_WIDTH + 80} {_HEIGHT + 20 + top_margin}" role="img">']
    levels = [10**k for k in range(len(str(int(top))))] if is_log else [top]
    for level in levels:
        y = _HEIGHT - height(level)
        parts.append(f'<line class="axis" x2="{_WIDTH}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="-6" y="{y + 4:.1f}" text-anchor="end">{level:,.6g}</text>')
    parts.append(f'<line class="axis" x2="{_WIDTH}" y1="{_HEIGHT}" y2="{_HEIGHT}"/>')
    width = min(_BAR_WIDTH_MAX, step * 0.85) if step > 3 else step
    for kind, values in series:
        path = "".join(
            f"M{i * step + (step - width) / 2:.2f} {_HEIGHT}v{-height(value):.2f}h{width:.2f}V{_HEIGHT}z"
            for i, value in enumerate(values)
            if value
        )
        parts.append(f'<path class="{kind}" d="{path}"/>')
    parts += [
        f'<text x="{(i + 0.5) * step:.1f}" y="{_HEIGHT + 15}" text-anchor="middle">{escaped(label)}</text>'
        for i, label in labels.items()
    ]
    for row, (name, place) in enumerate((marks or {}).items()):
        x, y = (min(place, count - 1) + 0.5) * step, -6 - 13 * row
        parts.append(f'<line class="mark" x1="{x:.1f}" x2="{x:.1f}" y1="{y - 8}" y2="{_HEIGHT}"/>')
        at, anchor = (x + 4, "start") if x < 0.8 * _WIDTH else (x - 4, "end")
        parts.append(f'<text x="{at:.1f}" y="{y}" text-anchor="{anchor}">{escaped(name)}</text>')
    if limit is not None:
        x = min((limit + 1) * step, _WIDTH)
        parts.append(f'<line class="limit" x1="{x:.1f}" x2="{x:.1f}" y2="{_HEIGHT}"/>')
    return "".join([*parts, "</svg>"])


def heat_map(raster: "Raster", rates: "npt.NDArray[np.float64]", is_known: "npt.NDArray[np.bool_]") -> str:
    """The picture with its strips, macroblocks coloured by `rates`, grey where nothing is known of them.

    Both arrays: [macroblocks of the full data area].
    """
    import numpy as np
    from bytereel_codec.libav.images import png_of

    level = rates / max(float(rates.max(initial=0.0)), 1e-12)
    places, colours = [stop for stop, _ in _HEAT_STOPS], np.array([colour for _, colour in _HEAT_STOPS])
    image = np.stack([np.interp(level, places, colours[:, i]) for i in range(3)], axis=-1).astype(np.uint8)
    image[~is_known] = _NEVER_READ
    png = base64.b64encode(png_of(image.reshape(raster.rows_max, raster.columns, 3))).decode("ascii")
    strip = f'width="{raster.width}" height="{16 * raster.strip_rows}" class="frame"/>'
    return (
        f'<svg viewBox="0 0 {raster.width} {raster.height}" role="img" aria-label="heat map">'
        f'<rect width="{raster.width}" height="{raster.height}" class="rest"/>'
        f'<image href="data:image/png;base64,{png}" y="{16 * raster.first_row}" width="{16 * raster.columns}" '
        f'height="{16 * raster.rows_max}" preserveAspectRatio="none" style="image-rendering: pixelated"/>'
        f'<rect {strip}<rect y="{16 * raster.lower_strip_row}" {strip}</svg>'
    )


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table with its columns' names, capitals made small, above the rows."""
    head = "".join(f"<th>{escaped(name.capitalize())}</th>" for name in columns)
    body = "".join(f"<tr>{''.join(f'<td>{escaped(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def escaped(text: str) -> str:
    """The text as HTML shows it, without control characters."""
    return html.escape(shown(text))
