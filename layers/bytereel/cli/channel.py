"""The command `channel`: how well lossy reels came back, as one HTML page that needs nothing else, or as figures."""

import base64
import html
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bytereel.cli.options import Force, Json, Workers
from bytereel.cli.output import print_result, shown, table_lines
from bytereel.cli.progress import ProgressBar
from bytereel.cores import usable_cores

if TYPE_CHECKING:
    from bytereel_codec.channel_report import ChannelSurvey

_WIDTH, _HEIGHT = 800, 150
_BARS_MAX = 400
_BAR_WIDTH_MAX = 48
_LABEL_WIDTH = 64
_ROWS_MAX = 200
_HEAT_STOPS = (
    (0.0, (20, 24, 62)),
    (0.3, (110, 30, 120)),
    (0.6, (210, 70, 70)),
    (0.85, (250, 160, 50)),
    (1.0, (255, 240, 150)),
)
_NEVER_READ = (128, 128, 128)
_COLUMNS = ("REEL", "PROFILE", "WRONG BYTES", "WORST CODEWORD", "MEAN + 3 SIGMA", "CODEWORDS LOST", "VERDICT")

_PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
:root { color-scheme: light dark; --back: #fbfaf7; --card: #fff; --text: #1d2330; --soft: #667; --line: #d9d8d2;
  --bar: #4a6fa5; --bad: #c8402f; --near: #c98a12; --good: #2f8a57; }
@media (prefers-color-scheme: dark) { :root { --back: #14161b; --card: #1d2027; --text: #e6e6e2; --soft: #99a;
  --line: #363a44; --bar: #7fa6dd; --bad: #ef7362; --near: #e3b04b; --good: #62c08d; } }
body { margin: 0 auto; padding: 2rem 1rem 4rem; max-width: 60rem; background: var(--back); color: var(--text);
  font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; margin: 0; } h2 { font-size: 1.2rem; margin: 0 0 .5rem; overflow-wrap: anywhere; }
h3 { font-size: 1rem; margin: 2rem 0 .2rem; }
p { margin: .2rem 0 .6rem; } .soft, figcaption { color: var(--soft); font-size: .87rem; }
section { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 1.2rem;
  margin: 1.5rem 0; }
.verdict { border-left: 5px solid var(--bar); padding: .5rem .8rem; font-weight: 600; background: var(--back); }
.good { border-color: var(--good); } .near { border-color: var(--near); } .bad { border-color: var(--bad); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1.2rem; margin: 1rem 0; }
dt { color: var(--soft); } dd { margin: 0; }
figure { margin: .3rem 0 0; } svg { display: block; width: 100%; height: auto; overflow: visible; }
svg text { font: 11px system-ui, sans-serif; fill: var(--soft); }
.bar { fill: var(--bar); } .wrong { fill: var(--bad); } .gap { fill: var(--soft); opacity: .35; }
.axis { stroke: var(--line); } .mark { stroke: var(--text); stroke-dasharray: 3 3; }
.limit { stroke: var(--bad); stroke-width: 2; } .frame { fill: none; stroke: var(--soft); } .rest { fill: #7e7e7e; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .25rem .7rem .25rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
th { color: var(--soft); font-weight: 500; font-size: .85rem; }
</style>
</head>
<body>
<h1>Channel report</h1>
<p class="soft">How well $count came back, and how much more damage would have been too much.</p>
$comparison
$sections
</body>
</html>
""")

_SECTION = Template("""<section>
<h2>$source</h2>
<p class="verdict $state">$verdict</p>
<dl>$facts</dl>
<h3>How far from the cliff</h3>
<p>$cliff</p>
<figure>$used<figcaption>Codewords by what they used of $allowed. Logarithmic.</figcaption></figure>
<h3>Where bytes were wrong</h3>
<figure>$heat<figcaption>$heat_caption</figcaption></figure>
<h3>How sure the bytes were</h3>
<figure>$margins<figcaption>Bytes read, by their margin: 128 is exactly as written, 0 on the threshold. Red: bytes that
turned out wrong. Logarithmic.</figcaption></figure>
<h3>Errors corrected in each picture</h3>
<figure>$pictures<figcaption>$pictures_caption</figcaption></figure>
<h3>Errors corrected in each burst</h3>
<figure>$bursts<figcaption>Bytes corrected, those of lost pictures included.</figcaption></figure>
<details><summary>$burst_count</summary><div class="scroll">$burst_table</div></details>
</section>""")


def channel(
    sources: Annotated[list[str], typer.Argument(metavar="REEL...", help="Lossy reels, as they came back.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="REPORT.html", help="The page to write.", show_default=False),
    ] = None,
    workers: Workers = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Show how well lossy reels came back from a platform, and how far they are from the cliff."""
    if output is None and not as_json:
        raise typer.BadParameter("give the page to write, or --json", param_hint="-o")
    from bytereel_codec.sink import TargetFile

    threads = workers or usable_cores()
    if output is None:
        surveys = [_surveyed(source, threads, as_json) for source in sources]
    else:
        with TargetFile(output, replace=force) as file:
            surveys = [_surveyed(source, threads, as_json) for source in sources]
            content = page(surveys).encode("utf-8", "replace")
            file.write_at(0, content)
            file.commit(len(content))
    values = {"reels": [each.to_dict() for each in surveys], "report": str(output) if output else None}
    lines = [*table_lines(_COLUMNS, [_row(each) for each in surveys]), f"report  {shown(str(output))}"]
    print_result(values, lines, as_json=as_json)


def _surveyed(source: str, workers: int, as_json: bool) -> "ChannelSurvey":
    from bytereel_codec.channel_report import survey_channel

    with ProgressBar("reading", hidden=as_json) as progress:
        return survey_channel(Path(source), workers=workers, progress=progress)


def page(surveys: Sequence["ChannelSurvey"]) -> str:
    """The whole page: HTML without scripts and without anything from elsewhere."""
    title = f"Channel report: {', '.join(Path(each.source).name for each in surveys)}"
    count = "this reel" if len(surveys) == 1 else f"these {len(surveys)} reels"
    comparison = _table(_COLUMNS, [_row(each) for each in surveys]) if len(surveys) > 1 else ""
    return _PAGE.substitute(
        title=_text(title),
        count=count,
        comparison=f'<section class="scroll">{comparison}</section>' if comparison else "",
        sections="\n".join(_section(each) for each in surveys),
    )


def _row(survey: "ChannelSurvey") -> tuple[str, ...]:
    cliff = survey.cliff
    came_back = cliff.lost < cliff.codewords
    missing = f", {len(survey.missing)} bursts missing" if survey.missing else ""
    return (
        Path(survey.source).name,
        f"{survey.profile} {survey.placement.raster.name}",
        _percent(survey.error_rate) if survey.known > 0.5 else "unknown",
        f"{cliff.worst} of {cliff.allowed}" if came_back else "none came back",
        _percent(cliff.fraction) if came_back else "unknown",
        f"{cliff.lost} of {cliff.codewords}{missing}",
        cliff.distance,
    )


def _section(survey: "ChannelSurvey") -> str:
    cliff, bursts = survey.cliff, survey.in_order
    state = "bad" if survey.verdict.startswith("Damaged") else "near" if cliff.nearness >= 0.75 else "good"
    pictures, caption = _picture_bars(survey)
    return _SECTION.substitute(
        source=_text(survey.source),
        state=state,
        verdict=_text(survey.verdict),
        facts="".join(f"<dt>{_text(name)}</dt><dd>{_text(value)}</dd>" for name, value in _facts(survey).items()),
        cliff=_text(_cliff_text(survey)),
        allowed=_text(_allowed_text(survey)),
        used=_used_bars(survey),
        heat=_heat_map(survey),
        heat_caption=_text(_heat_text(survey)),
        margins=_bars(
            [("bar", survey.margins.sum(axis=0).tolist()), ("wrong", survey.margins[1].tolist())],
            {0: "0", 128: "128", 255: "255"},
            is_log=True,
        ),
        pictures=pictures,
        pictures_caption=_text(caption),
        bursts=_bars(
            [("bar", _grouped([int(each.wrong.sum()) + each.filled for each in bursts]))],
            _labels([(each.name, 1) for each in bursts]),
        ),
        burst_count=f"{len(bursts)} bursts" if len(bursts) <= _ROWS_MAX else f"{_ROWS_MAX} of {len(bursts)} bursts",
        burst_table=_burst_table(survey),
    )


def _facts(survey: "ChannelSurvey") -> dict[str, str]:
    modulation, raster, pictures = survey.modulation, survey.placement.raster, survey.pictures
    side = modulation.second >> 1
    symbols = {
        "DCT4": f"4 x 4 transform, {modulation.first} luma and {modulation.second} chroma signs a block",
        "DCT8": f"8 x 8 transform, {modulation.first} luma signs a block",
        "CELLS": f"cells of {side} x {side} pixels in {1 << modulation.first} colours",
    }[modulation.family.name]
    code = f"(255, {255 - modulation.parity}) Reed-Solomon"
    if modulation.code.name == "XOR":
        code = f"one XOR block for every {modulation.parity} blocks"
    counts = [f"{pictures[name]} {name}" for name in ("read", "grey", "doubled", "lost", "unread") if pictures[name]]
    return {
        "profile": survey.profile,
        "symbols": symbols,
        "protected by": code,
        "written as": f"{raster.width} x {raster.height} ({raster.name})",
        "found": _placement_text(survey),
        "pictures": f"{pictures['shown']} in the video: {', '.join(counts)}",
        "missing": ", ".join(survey.missing[:8]) + (" ..." if len(survey.missing) > 8 else "") or "nothing",
        "bytes read": f"{survey.bytes_read:,}; {_percent(survey.error_rate)} wrong of the {_percent(survey.known)} "
        "of which that is known",
    }


def _placement_text(survey: "ChannelSurvey") -> str:
    place, (width, height) = survey.placement, survey.video_size
    video = f"in a video of {width} x {height}"
    if place.is_identity and (width, height) == (place.raster.width, place.raster.height):
        return f"as written, {video}"
    left, top, right, bottom = place.visible
    framed = "" if (left, top, right, bottom) == (0, 0, width, height) else ", with a frame around it"
    if place.is_shift:
        return f"shifted by {place.x:+.0f}, {place.y:+.0f} pixels {video}{framed}"
    scale = f"{place.width:.2f} x {place.height:.2f} pixels at {place.x:.2f}, {place.y:.2f}"
    return f"scaled to {scale} {video}{framed}"


def _cliff_text(survey: "ChannelSurvey") -> str:
    cliff = survey.cliff
    if cliff.lost == cliff.codewords:
        return "No codeword of the data could be corrected: there was far more damage than the parity can mend."
    said = f"The worst codeword that came back used {cliff.worst} of {cliff.allowed}"
    if cliff.worst > cliff.allowed:
        said += ", which it survived because the margins told where the errors were"
    said += (
        f"; the mean is {cliff.mean:.2f} with a deviation of {cliff.sigma:.2f}, so a codeword three deviations worse"
    )
    said += f" than the mean uses {_percent(cliff.fraction)} of what there is."
    lost = f"{cliff.lost} of {cliff.codewords} codewords were beyond it. " if cliff.lost else ""
    return f"{lost}{said} That is {cliff.distance}."


def _allowed_text(survey: "ChannelSurvey") -> str:
    if survey.modulation.code.name == "XOR":
        return "the one wrong block that a group can take"
    return (
        f"their {survey.cliff.allowed} parity bytes (red line): an error uses two of them, a byte known to be lost one"
    )


def _heat_text(survey: "ChannelSurvey") -> str:
    return (
        "The part of the bytes of each macroblock that was wrong, over all pictures: from none (dark) to "
        f"{_percent(float(_rates(survey).max(initial=0.0)))} (light). Grey: nothing is known there. "
        "Outlined: the strips above and below."
    )


def _rates(survey: "ChannelSurvey") -> Any:
    import numpy as np

    return survey.heat_wrong / np.maximum(1, survey.heat_known)


def _heat_map(survey: "ChannelSurvey") -> str:
    """The picture with its strips, macroblocks coloured."""
    import numpy as np
    from bytereel_codec.libav.images import png_of

    raster, rates = survey.placement.raster, _rates(survey)
    level = rates / max(float(rates.max(initial=0.0)), 1e-12)
    places, colours = [stop for stop, _ in _HEAT_STOPS], np.array([colour for _, colour in _HEAT_STOPS])
    image = np.stack([np.interp(level, places, colours[:, i]) for i in range(3)], axis=-1).astype(np.uint8)
    image[survey.heat_known == 0] = _NEVER_READ
    png = base64.b64encode(png_of(image.reshape(raster.rows_max, raster.columns, 3))).decode("ascii")
    strip = f'width="{raster.width}" height="{16 * raster.strip_rows}" class="frame"/>'
    return (
        f'<svg viewBox="0 0 {raster.width} {raster.height}" role="img" aria-label="heat map">'
        f'<rect width="{raster.width}" height="{raster.height}" class="rest"/>'
        f'<image href="data:image/png;base64,{png}" y="{16 * raster.first_row}" width="{16 * raster.columns}" '
        f'height="{16 * raster.rows_max}" preserveAspectRatio="none" style="image-rendering: pixelated"/>'
        f'<rect {strip}<rect y="{16 * raster.lower_strip_row}" {strip}</svg>'
    )


def _used_bars(survey: "ChannelSurvey") -> str:
    cliff = survey.cliff
    size = max(cliff.allowed, cliff.worst) + 1
    used = [int(count) for count in cliff.used[:size]]
    used += [0] * (size - len(used))
    marks = {"mean": cliff.mean, "mean + 3 sigma": cliff.mean + 3 * cliff.sigma}
    return _bars([("bar", used)], {0: "0", cliff.allowed: str(cliff.allowed)}, marks, limit=cliff.allowed, is_log=True)


def _picture_bars(survey: "ChannelSurvey") -> tuple[str, str]:
    corrected = [int(count) for burst in survey.in_order for count in burst.wrong]
    lost = [not seen for burst in survey.in_order for seen in burst.seen]
    each = -(-len(corrected) // _BARS_MAX)
    bars = _grouped(corrected)
    top = max(bars, default=0) or 1
    gaps = [top * any(lost[i : i + each]) for i in range(0, len(lost), each)]
    image = _bars([("gap", gaps), ("bar", bars)], _labels([(each.name, len(each.seen)) for each in survey.in_order]))
    column = "a picture" if each == 1 else f"the mean of {each} pictures"
    caption = f"Bytes corrected; a column is {column}, in the reel's order."
    return image, caption + (" Grey: pictures that were lost." if any(lost) else "")


def _grouped(values: Sequence[int]) -> list[float]:
    """The values, or means of as many neighbours as leave no more than `_BARS_MAX`."""
    each = max(1, -(-len(values) // _BARS_MAX))
    groups = [values[i : i + each] for i in range(0, len(values), each)]
    return [sum(group) / len(group) for group in groups]


def _labels(parts: Sequence[tuple[str, int]]) -> dict[int, str]:
    """Names of parts of so many values each, under the columns where they begin, as far as there is room."""
    total = sum(count for _, count in parts)
    each, start, free_from, labels = max(1, -(-total // _BARS_MAX)), 0, 0.0, {}
    for name, count in parts:
        place = start // each * each * _WIDTH / total
        if place >= free_from:
            labels[start // each] = name
            free_from = place + _LABEL_WIDTH
        start += count
    return labels


def _bars(
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
        f'<text x="{(i + 0.5) * step:.1f}" y="{_HEIGHT + 15}" text-anchor="middle">{_text(label)}</text>'
        for i, label in labels.items()
    ]
    for row, (name, place) in enumerate((marks or {}).items()):
        x, y = (min(place, count - 1) + 0.5) * step, -6 - 13 * row
        parts.append(f'<line class="mark" x1="{x:.1f}" x2="{x:.1f}" y1="{y - 8}" y2="{_HEIGHT}"/>')
        parts.append(f'<text x="{x + 4:.1f}" y="{y}">{_text(name)}</text>')
    if limit is not None:
        x = min((limit + 1) * step, _WIDTH)
        parts.append(f'<line class="limit" x1="{x:.1f}" x2="{x:.1f}" y2="{_HEIGHT}"/>')
    return "".join([*parts, "</svg>"])


def _burst_table(survey: "ChannelSurvey") -> str:
    columns = ("BURST", "PICTURES", "BYTES CORRECTED", "WORST CODEWORD", "CODEWORDS LOST")
    rows = [
        (
            each.name,
            f"{int(each.seen.sum())} of {len(each.seen)}",
            str(int(each.wrong.sum()) + each.filled),
            f"{each.cliff.worst} of {each.cliff.allowed}",
            f"{each.cliff.lost} of {each.cliff.codewords}",
        )
        for each in survey.in_order[:_ROWS_MAX]
    ]
    return _table(columns, rows)


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{_text(name.capitalize())}</th>" for name in columns)
    body = "".join(f"<tr>{''.join(f'<td>{_text(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _percent(part: float) -> str:
    return f"{100 * part:.3g} %"


def _text(text: str) -> str:
    return html.escape(shown(text))


def register(app: typer.Typer) -> None:
    """Add the command of this file."""
    app.command()(channel)
