"""Which profile a command works with: one of ours, one of a file of the user's, or a member of the classic family.

Also the commands that answer without encoding anything: `profiles` and `estimate`.
"""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bytereel.cli.options import FILE, STANDARD, json_option, parity_option, together, workers_option
from bytereel.cli.printing.output import pair_lines, print_note, print_result, size_text, table_lines
from bytereel.cli.printing.progress import ProgressBar
from bytereel.conversions.registry import known_profiles
from bytereel.cores import usable_cores
from bytereel.errors import Permanent

if TYPE_CHECKING:
    from bytereel_codec.profiles.profiles import Profile
    from bytereel_codec.trials.rehearsal import Trial

profile_option = click.option(
    "--profile", "-p", default="archive", metavar="NAME", show_default=True, help="See `bytereel profiles`."
)
profiles_file_option = click.option("--profiles-file", type=FILE, metavar="FILE", help="Profiles of your own, in TOML.")
geometry_option = click.option(
    "--geometry", metavar="NAME", help="Picture size, such as 1080p; by default as suits IN's size."
)
classic_options = together(
    click.option("--colours", type=int, metavar="N", help="Of classic16: 4, 16, 64 or 256; by default 16."),
    click.option("--pixels", type=int, metavar="N", help="Of classic16: 1 or 9 pixels a symbol; by default 9."),
    click.option("--palette", metavar="NAME", help="Of classic16: yuv or ega; by default yuv."),
    click.option("--interleaver", metavar="NAME", help="Of classic16: rs or xor; by default rs."),
)


def chosen_profile(name: str, profiles_file: Path | None, family: Mapping[str, Any]) -> "Profile":
    """The profile of that name; `family` holds what was asked for of the classic family, None where nothing was.

    Raises: Permanent `profile.unknown`, `profile.classic`.
    """
    asked = {key: value for key, value in family.items() if value is not None}
    if asked and name != "classic16":
        raise Permanent("profile.classic", f"{', '.join(asked)}: only profile classic16 has these options")
    if asked:
        from bytereel_codec.profiles.classic import classic_profile

        return classic_profile(**asked)
    from bytereel_codec.profiles.profiles import profile_named

    return profile_named(name, known_profiles(profiles_file))


def best_coded(
    profile: "Profile", source: str, device: str, workers: int, geometry: str | None, *, hidden: bool
) -> "Profile":
    """See `rehearsal.best_coded`; of standard input and folders no size is known."""
    if profile.channel is None:
        return profile
    from bytereel_codec.channel.device import Device
    from bytereel_codec.trials import rehearsal

    size = Path(source).stat().st_size if source != STANDARD and Path(source).is_file() else None
    with _RehearsalBar(profile, hidden=hidden) as bar:
        return rehearsal.best_coded(profile, size, Device(device), geometry=geometry, threads=workers, watch=bar.watch)


def rehearsed(profile: "Profile", workers: int, geometry: str | None = None, *, hidden: bool) -> "list[Trial]":
    """Try what a profile of the user's claims, at that picture size. Raises: as `check_profile`."""
    from bytereel_codec.trials.rehearsal import check_profile

    with _RehearsalBar(profile, hidden=hidden) as bar:
        return check_profile(profile, geometry=geometry, threads=workers, watch=bar.watch)


def note_compiling() -> None:
    """Say that the kernels of lossy profiles are yet to be compiled, where they are."""
    from bytereel.machine import lossy_kernels_are_compiled

    if not lossy_kernels_are_compiled():
        print_note("the first use of a lossy profile compiles its kernels: half a minute, once on this machine")


class _RehearsalBar(ProgressBar):
    """How many of a profile's recipes were tried."""

    def __init__(self, profile: "Profile", *, hidden: bool) -> None:
        super().__init__(f"rehearsing {profile.name}", hidden=hidden)
        self._tried, self._recipes = 0, len(profile.rehearsal)

    def watch(self, trial: "Trial") -> None:
        """Count a trial."""
        self._tried += 1
        self(self._tried, self._recipes)


@click.command()
@profiles_file_option
@click.option("--rehearse", is_flag=True, help="Try what the file's profiles claim to survive.")
@workers_option
@json_option
def profiles(*, profiles_file: Path | None, rehearse: bool, workers: int | None, as_json: bool) -> None:
    """List the profiles, and the picture sizes."""
    from bytereel_codec.channel.raster import RASTERS
    from bytereel_codec.frame.geometry import GEOMETRIES
    from bytereel_codec.profiles.profiles import PROFILES

    known = known_profiles(profiles_file)
    trials = []
    if rehearse and profiles_file is None:
        raise click.BadParameter("there is nothing to rehearse without --profiles-file", param_hint="--rehearse")
    if rehearse:
        own = [each for name, each in known.items() if name not in PROFILES]
        trials = [trial for each in own for trial in rehearsed(each, workers or usable_cores(), hidden=as_json)]
    values = {
        "profiles": [each.to_dict() for each in known.values()],
        "geometries": [{**asdict(each), "span_bytes": each.span_bytes} for each in GEOMETRIES.values()],
        "rasters": [{"name": each.name, "width": each.width, "height": each.height} for each in RASTERS.values()],
        "trials": [asdict(trial) for trial in trials],
    }
    first = table_lines(
        ("PROFILE", "FOR", "EXPANSION", "COMES BACK EXACT AFTER"),
        [(p.name, p.purpose, f"{p.expansion:.3g}", p.survives) for p in known.values()],
    )
    second = table_lines(
        ("GEOMETRY", "PIXELS", "A SECOND", "A PICTURE OF ARCHIVE CARRIES"),
        [
            (g.name, f"{g.width} x {g.height}", f"{g.frames_per_second}", size_text(g.span_bytes))
            for g in GEOMETRIES.values()
        ],
    )
    sizes = ", ".join(RASTERS)
    rehearsals = [f"{trial.profile} comes back exact from {trial.recipe}" for trial in trials]
    print_result(values, [*first, "", *second, "", f"The other profiles have {sizes}.", *rehearsals], as_json=as_json)


@click.command()
@click.argument("source", type=FILE, metavar="IN", help="A file, a folder, or a number of bytes such as 10GiB.")
@profile_option
@parity_option
@geometry_option
@profiles_file_option
@classic_options
@json_option
def estimate(
    *,
    source: Path,
    profile: str,
    parity: float | None,
    geometry: str | None,
    profiles_file: Path | None,
    as_json: bool,
    **family: Any,
) -> None:
    """Say how many pictures a reel will have, how long it will play and about how large it will be."""
    from bytereel_codec.profiles.geometries import geometry_of_profile
    from bytereel_codec.reel.estimate import estimate as of_source

    found = chosen_profile(profile, profiles_file, family)
    size = _size_of(source)
    values = asdict(of_source(size, geometry_of_profile(found, geometry, size), parity or 0.0))
    lines = pair_lines(
        {
            "profile": found.name,
            "source": size_text(size),
            "pictures": f"{'at most ' if found.channel else ''}{values['pictures']} of {values['geometry']}",
            "plays": f"{values['seconds']:.0f} s",
            "segments": f"{values['segments']}, and {values['parity_segments']} of parity",
            "size": f"about {size_text(values['reel_bytes'])}",
        }
    )
    print_result({"profile": found.name, **values}, lines, as_json=as_json)


def _size_of(source: Path) -> int:
    from bytereel.cli.options import parse_size

    if source.is_dir():
        from bytereel_codec.files.folder.stream import stream_bytes

        return stream_bytes(source)
    try:
        return source.stat().st_size
    except OSError:
        try:
            return parse_size(str(source))
        except click.BadParameter:
            raise Permanent("source.missing", f"{str(source)!r} does not exist", path=str(source)) from None
