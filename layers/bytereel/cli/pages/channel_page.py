"""The page that `channel` writes: HTML without scripts and without anything from elsewhere, light or dark."""

from collections.abc import Sequence
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

from bytereel.cli.pages.channel_charts import BARS_MAX, bar_chart, escaped, grouped, heat_map, labels_of, table

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from bytereel_codec.trials.survey import ChannelSurvey

_ROWS_MAX = 200
COLUMNS = ("REEL", "PROFILE", "WRONG BYTES", "WORST CODEWORD", "MEAN + 3 SIGMA", "CODEWORDS LOST", "VERDICT")

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


def page(surveys: Sequence["ChannelSurvey"]) -> str:
    """The whole page: HTML without scripts and without anything from elsewhere."""
    title = f"Channel report: {', '.join(Path(each.source).name for each in surveys)}"
    count = "this reel" if len(surveys) == 1 else f"these {len(surveys)} reels"
    comparison = table(COLUMNS, [row(each) for each in surveys]) if len(surveys) > 1 else ""
    return _PAGE.substitute(
        title=escaped(title),
        count=count,
        comparison=f'<section class="scroll">{comparison}</section>' if comparison else "",
        sections="\n".join(_section(each) for each in surveys),
    )


def row(survey: "ChannelSurvey") -> tuple[str, ...]:
    """What stands of a reel in the table of all reels, by `COLUMNS`."""
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
        source=escaped(survey.source),
        state=state,
        verdict=escaped(survey.verdict),
        facts="".join(f"<dt>{escaped(name)}</dt><dd>{escaped(value)}</dd>" for name, value in _facts(survey).items()),
        cliff=escaped(_cliff_text(survey)),
        allowed=escaped(_allowed_text(survey)),
        used=_used_bars(survey),
        heat=heat_map(survey.placement.raster, _rates(survey), survey.heat_known > 0),
        heat_caption=escaped(_heat_text(survey)),
        margins=bar_chart(
            [("bar", survey.margins.sum(axis=0).tolist()), ("wrong", survey.margins[1].tolist())],
            {0: "0", 128: "128", 255: "255"},
            is_log=True,
        ),
        pictures=pictures,
        pictures_caption=escaped(caption),
        bursts=bar_chart(
            [("bar", grouped([int(each.wrong.sum()) + each.filled for each in bursts]))],
            labels_of([(each.name, 1) for each in bursts]),
        ),
        burst_count=f"{len(bursts)} bursts" if len(bursts) <= _ROWS_MAX else f"{_ROWS_MAX} of {len(bursts)} bursts",
        burst_table=_burst_table(survey),
    )


def _facts(survey: "ChannelSurvey") -> dict[str, str]:
    modulation, raster, pictures = survey.modulation, survey.placement.raster, survey.pictures
    counts = [f"{pictures[name]} {name}" for name in ("read", "grey", "doubled", "unread") if pictures[name]]
    gone = f"; {pictures['lost']} of the bursts' are not" if pictures["lost"] else ""
    return {
        "profile": survey.profile,
        "symbols": modulation.symbols,
        "protected by": modulation.protection,
        "written as": f"{raster.width} x {raster.height} ({raster.name})",
        "found": _placement_text(survey),
        "pictures": f"{pictures['shown']} in the video: {', '.join(counts)}{gone}",
        "bursts missing": ", ".join(survey.missing[:8]) + (" ..." if len(survey.missing) > 8 else "") or "nothing",
        "bytes read": f"{survey.bytes_read:,}; {_percent(survey.error_rate)} wrong of the {_percent(survey.known)} "
        "of which that is known",
    }


def _placement_text(survey: "ChannelSurvey") -> str:
    placement, (width, height) = survey.placement, survey.video_size
    video = f"in a video of {width} x {height}"
    if placement.is_identity and (width, height) == (placement.raster.width, placement.raster.height):
        return f"as written, {video}"
    left, top, right, bottom = placement.visible
    framed = "" if (left, top, right, bottom) == (0, 0, width, height) else ", with a frame around it"
    if placement.is_shift:
        return f"shifted by {placement.x:+.0f}, {placement.y:+.0f} pixels {video}{framed}"
    scale = f"{placement.width:.2f} x {placement.height:.2f} pixels at {placement.x:.2f}, {placement.y:.2f}"
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


def _rates(survey: "ChannelSurvey") -> "npt.NDArray[np.float64]":
    import numpy as np

    return survey.heat_wrong / np.maximum(1, survey.heat_known)


def _used_bars(survey: "ChannelSurvey") -> str:
    cliff = survey.cliff
    size = max(cliff.allowed, cliff.worst) + 1
    used = [int(count) for count in cliff.used[:size]]
    used += [0] * (size - len(used))
    marks = {"mean": cliff.mean, "mean + 3 sigma": cliff.mean + 3 * cliff.sigma}
    return bar_chart(
        [("bar", used)], {0: "0", cliff.allowed: str(cliff.allowed)}, marks, limit=cliff.allowed, is_log=True
    )


def _picture_bars(survey: "ChannelSurvey") -> tuple[str, str]:
    corrected = [int(count) for burst in survey.in_order for count in burst.wrong]
    lost = [not seen for burst in survey.in_order for seen in burst.seen]
    each = -(-len(corrected) // BARS_MAX)
    bars = grouped(corrected)
    top = max(bars, default=0) or 1
    gaps = [top * any(lost[i : i + each]) for i in range(0, len(lost), each)]
    image = bar_chart(
        [("gap", gaps), ("bar", bars)], labels_of([(each.name, len(each.seen)) for each in survey.in_order])
    )
    column = "a picture" if each == 1 else f"the mean of {each} pictures"
    caption = f"Bytes corrected; a column is {column}, in the reel's order."
    return image, caption + (" Grey: pictures that were lost." if any(lost) else "")


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
    return table(columns, rows)


def _percent(part: float) -> str:
    return f"{100 * part:.3g} %"
