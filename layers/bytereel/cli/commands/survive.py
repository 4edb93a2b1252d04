"""`bytereel survive`: the whole loop for a platform of one's own, and the cheapest profile that holds there."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.exceptions import Exit

from bytereel.cli.commands.profiles import profiles_file_option
from bytereel.cli.exits import ExitCode
from bytereel.cli.options import STANDARD, json_option, parse_range, workers_option
from bytereel.cli.printing.output import print_note, print_result, size_text, table_lines
from bytereel.cli.printing.progress import ProgressBar
from bytereel.conversions.registry import known_profiles
from bytereel.cores import usable_cores

if TYPE_CHECKING:
    from bytereel_codec.frame.geometry import ReelGeometry
    from bytereel_codec.profiles.profiles import Profile
    from bytereel_codec.trials.rehearsal import Trial

_NOTHING = "nothing"


def parse_sample(text: str) -> int:
    """A number of bytes that may end in KiB or MiB."""
    from bytereel_codec.trials.rehearsal import SAMPLE_BYTES_MAX

    size = parse_range(f":{text}").end
    if not size or size > SAMPLE_BYTES_MAX:
        raise click.BadParameter(f"{text!r} is not between 1 and {SAMPLE_BYTES_MAX} bytes, such as 4MiB")
    return size


@click.command()
@click.argument("source", metavar="IN", help="A file to try it with; - is standard input.")
@click.option(
    "--through",
    "-t",
    required=True,
    multiple=True,
    metavar="RECIPE",
    help="What a platform does, such as x264:crf=28; may be given several times.",
)
@click.option(
    "--profile",
    "-p",
    "profiles",
    multiple=True,
    metavar="NAME",
    help="A profile to try; may be given several times; by default all lossy ones.",
)
@profiles_file_option
@click.option("--sample", type=parse_sample, metavar="BYTES", help="How much of IN; by default 16 pictures.")
@workers_option
@json_option
def survive(
    *,
    source: str,
    through: Sequence[str],
    profiles: Sequence[str],
    profiles_file: Path | None,
    sample: int | None,
    workers: int | None,
    as_json: bool,
) -> None:
    """Try which profiles come back exact from a platform, and which of them is the cheapest."""
    from bytereel_codec.profiles.recipes import Recipe

    recipes = list(dict.fromkeys(str(Recipe.parse(text)) for text in through))
    loop = _Loop(_chosen(profiles, profiles_file), recipes, source, sample, workers or usable_cores())
    with ProgressBar("trying", hidden=as_json) as progress:
        trials = loop.run(progress)
    verdicts = [_verdict(recipe, trials, whole=loop.is_whole) for recipe in recipes]
    values = {
        "source": source,
        "source_bytes": loop.source_bytes,
        "cheapest": verdicts,
        "trials": [{**asdict(trial), "expansion": _expansion(trial, whole=False)} for trial in trials],
    }
    print_result(values, _lines(verdicts, trials, whole=loop.is_whole), as_json=as_json)
    hopeless = [verdict["recipe"] for verdict in verdicts if verdict["profile"] is None]
    if hopeless:
        print_note(f"none of the profiles comes back exact from {', '.join(hopeless)}")
        raise Exit(ExitCode.INTEGRITY)


def _chosen(names: Sequence[str], profiles_file: Path | None) -> "list[Profile]":
    """The profiles to try: those named, or all that have a channel, the file's among them."""
    from bytereel_codec.profiles.profiles import profile_named

    known = known_profiles(profiles_file)
    if names:
        return [profile_named(name, known) for name in dict.fromkeys(names)]
    return [each for each in known.values() if each.channel]


class _Loop:
    """One run over all profiles and recipes."""

    def __init__(
        self, profiles: "Sequence[Profile]", recipes: Sequence[str], source: str, sample: int | None, threads: int
    ) -> None:
        self._profiles = profiles
        self._recipes = recipes
        self._sample = sample
        self._threads = threads
        self._content, self.source_bytes = self._read(source)

    def _read(self, source: str) -> tuple[bytes, int | None]:
        """As much of the source as is tried, and its size, None where that is not known."""
        from bytereel_codec.files.ranged import FileReader, read_range

        if source != STANDARD:
            with FileReader(source) as reader:
                size = reader.size_bytes
                return bytes(read_range(reader, 0, min(size, self._bytes_wanted(size)))), size
        wanted = self._bytes_wanted(None)
        content = sys.stdin.buffer.read(wanted + 1)
        return content[:wanted], len(content) if len(content) <= wanted else None

    def _bytes_wanted(self, size: int | None) -> int:
        return max(self._share(profile, size)[1] for profile in self._profiles)

    def _share(self, profile: "Profile", size: int | None) -> "tuple[ReelGeometry, int]":
        """The picture size that the whole source would get, and how many of its bytes are tried."""
        from bytereel_codec.profiles.geometries import geometry_of_profile
        from bytereel_codec.trials.rehearsal import sample_bytes_for

        geometry = geometry_of_profile(profile, None, size)
        return geometry, self._sample or sample_bytes_for(geometry)

    @property
    def is_whole(self) -> bool:
        """Whether all of the source was tried with every profile."""
        size = self.source_bytes
        return size is not None and all(self._share(profile, size)[1] >= size for profile in self._profiles)

    def run(self, progress: ProgressBar) -> "list[Trial]":
        from bytereel_codec.trials.rehearsal import survives

        shares = [self._share(profile, self.source_bytes) for profile in self._profiles]
        sizes = [min(count, len(self._content)) for _, count in shares]
        total = sum(sizes) * len(self._recipes)
        trials: list[Trial] = []

        def watch(trial: "Trial") -> None:
            trials.append(trial)
            progress(sum(each.sample_bytes for each in trials), total)

        progress(0, total)
        for profile, (geometry, _), size in zip(self._profiles, shares, sizes, strict=True):
            survives(
                profile,
                self._recipes,
                sample=self._content[:size],
                geometry=geometry,
                threads=self._threads,
                watch=watch,
            )
        return trials


def _verdict(recipe: str, trials: "Iterable[Trial]", *, whole: bool) -> dict[str, Any]:
    """The cheapest profile that holds: by its reel where all of the source is in it, else by what a long one weighs."""
    held = [trial for trial in trials if trial.recipe == recipe and trial.exact]
    best = min(held, key=lambda trial: trial.reel_bytes if whole else trial.expansion, default=None)
    return {
        "recipe": recipe,
        "profile": best.profile if best else None,
        "expansion": _expansion(best, whole=whole) if best else None,
    }


def _expansion(trial: "Trial", *, whole: bool) -> float | None:
    """What the profile costs: its reel where all of the source is in it, else a long one; None of an empty source."""
    expansion = trial.reel_bytes / trial.sample_bytes if whole and trial.sample_bytes else trial.expansion
    return None if expansion == float("inf") else round(expansion, 4)


def _lines(verdicts: Sequence[Mapping[str, Any]], trials: "Sequence[Trial]", *, whole: bool) -> list[str]:
    first = table_lines(
        ("THROUGH", "THE CHEAPEST THAT HOLDS", "EXPANSION"),
        [(each["recipe"], each["profile"] or _NOTHING, _times(each["expansion"])) for each in verdicts],
    )
    second = table_lines(
        ("THROUGH", "PROFILE", "COMES BACK", "EXPANSION", "SAMPLE", "DELIVERED", "CORRECTED", "LOST", "TIME"),
        [_row(trial, whole=whole) for each in verdicts for trial in trials if trial.recipe == each["recipe"]],
    )
    return [*first, "", *second]


def _row(trial: "Trial", *, whole: bool) -> tuple[str, ...]:
    lost = f"{trial.codewords_lost} of {trial.codewords} codewords" if trial.codewords_lost else ""
    return (
        trial.recipe,
        trial.profile,
        "exact" if trial.exact else f"no: {trial.why}",
        _times(_expansion(trial, whole=whole)),
        size_text(trial.sample_bytes),
        size_text(trial.delivered_bytes),
        size_text(trial.corrected_bytes) if trial.corrected_bytes else "",
        lost,
        f"{trial.seconds:.1f} s",
    )


def _times(expansion: float | None) -> str:
    return "" if expansion is None else f"{expansion:.3f} x"
