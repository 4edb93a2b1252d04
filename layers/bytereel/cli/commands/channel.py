"""The command `channel`: how well lossy reels came back, as one HTML page that needs nothing else, or as figures."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bytereel.cli.options import FILE, force_option, json_option, workers_option
from bytereel.cli.pages.channel_page import COLUMNS, page, row
from bytereel.cli.printing.output import print_result, table_lines
from bytereel.cli.printing.progress import ProgressBar
from bytereel.cores import usable_cores
from bytereel.logs import shown

if TYPE_CHECKING:
    from bytereel_codec.trials.survey import ChannelSurvey


@click.command()
@click.argument("sources", nargs=-1, required=True, metavar="REEL...", help="Lossy reels, as they came back.")
@click.option("--output", "-o", type=FILE, metavar="REPORT.html", help="The page to write.")
@workers_option
@force_option
@json_option
def channel(*, sources: Sequence[str], output: Path | None, workers: int | None, force: bool, as_json: bool) -> None:
    """Show how well lossy reels came back from a platform, and how far they are from the cliff."""
    if output is None and not as_json:
        raise click.BadParameter("give the page to write, or --json", param_hint="-o")
    from bytereel_codec.files.targets import is_standard_output, opened_target

    threads = workers or usable_cores()
    if output is None:
        surveys = [_surveyed(source, threads, as_json) for source in sources]
    else:
        with opened_target(str(output), replace=force) as file:
            surveys = [_surveyed(source, threads, as_json) for source in sources]
            content = page(surveys).encode("utf-8", "replace")
            file.write_at(0, content)
            file.commit(len(content))
    values = {"reels": [each.to_dict() for each in surveys], "report": str(output) if output else None}
    lines = [*table_lines(COLUMNS, [row(each) for each in surveys]), f"report  {shown(str(output))}"]
    on_stderr = output is not None and is_standard_output(str(output))
    print_result(values, lines, as_json=as_json, on_stderr=on_stderr)


def _surveyed(source: str, workers: int, as_json: bool) -> "ChannelSurvey":
    from bytereel_codec.trials.survey import survey_channel

    with ProgressBar("reading", hidden=as_json) as progress:
        return survey_channel(Path(source), workers=workers, progress=progress)
