"""What encode, decode, verify and inspect say of reels, as lines of text. `values` is what they say as JSON."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bytereel.cli.printing.output import pair_lines, ranges_text, rate_text, size_text

if TYPE_CHECKING:
    from bytereel_codec import DecodeReport, EncodeSummary, ReelDescription

_SHOWN = 8


def encoded_lines(summary: "EncodeSummary", values: Mapping[str, Any]) -> list[str]:
    """What was encoded."""
    parity = f", {summary.parity_segments} of parity" if summary.parity_segments else ""
    most = "at most " if values["encoder"] else ""
    expansion = f" ({summary.expansion:.4f} x)" if summary.source_bytes else ""
    return pair_lines(
        {
            "reel": values["target"],
            "source": size_text(summary.source_bytes),
            "size": size_text(summary.reel_bytes) + expansion,
            "pictures": f"{most}{summary.pictures} of {summary.geometry}, {summary.segments} segments{parity}",
            "coded by": values["encoder"],
            "sealed": "yes" if summary.sealed else None,
            "sha256": summary.sha256,
            "digest": summary.digest,
            "time": rate_text(summary.source_bytes, values["seconds"]),
        }
    )


def decoded_lines(report: "DecodeReport", values: Mapping[str, Any]) -> list[str]:
    """What was decoded, and what proves it."""
    start, end = values["range"]
    part = f", bytes {start}-{end}" if (start, end) != (0, report.source_bytes) else ""
    pairs = {"written": report.target, "name": report.name, "original": size_text(report.source_bytes) + part}
    return pair_lines({**pairs, **_proof(report), "time": rate_text(end - start, values["seconds"])})


def verified_lines(report: "DecodeReport", values: Mapping[str, Any]) -> list[str]:
    """The verdict on a reel, and what proves it."""
    pairs = {"name": report.name, "original": f"{size_text(report.source_bytes)} in {report.segments} segments"}
    verdict = "damaged" if report.lost else "whole: every byte is proved by SHA-256"
    rate = rate_text(report.source_bytes, values["seconds"])
    return pair_lines({"verdict": verdict, **pairs, **_proof(report), "time": rate})


def _proof(report: "DecodeReport") -> dict[str, object]:
    return {
        "sha256": report.sha256,
        "digest": report.digest,
        "recovered": f"{report.recovered_frames} pictures, from parity" if report.recovered_frames else None,
        "corrected": f"{report.corrected_bytes} bytes, by parity in the pictures" if report.corrected_bytes else None,
        "lost": ranges_text([each for each in report.lost if each[0] < each[1]]) or None,
        "beside it": _beside(report.others),
    }


def _beside(others: Sequence[str]) -> str | None:
    """The other reels of which a file holds frames."""
    return f"frames of reel {', '.join(other[:12] for other in others[:_SHOWN])}" if others else None


def inspected_lines(found: "ReelDescription") -> list[str]:
    """What a reel says of itself."""
    leader = found.leader
    said: dict[str, object] = {"leader": found.locked}
    if leader is not None:
        said = {
            "name": leader.name + ("/" if leader.kind == "folder" else ""),
            "original": None if leader.size_bytes is None else size_text(leader.size_bytes),
            "profile": leader.profile,
            "sha256": leader.sha256,
            "digest": leader.digest,
            "created": f"{leader.created} by {leader.software}",
        }
    parity = f"{found.parity_groups} groups of {found.parity_columns}" if found.parity_columns else "none"
    missing = f", {found.frames_missing} missing" if found.frames_missing else ""
    return pair_lines(
        {
            "reel": found.reel_id,
            **said,
            "format": f"version {found.format_version}, {'sealed' if found.sealed else 'not sealed'}",
            "size": size_text(found.reel_bytes),
            "pictures": f"{found.geometry} ({found.width} x {found.height})",
            "symbols": found.symbols or None,
            "protected": f"by {found.protection}" if found.protection else None,
            "frames": f"{found.frames_found} of data{missing}",
            "segments": f"{found.segments} of up to {found.frames_per_segment} frames",
            "beside it": _beside(found.others),
            "parity": f"{parity}, across segments" if found.parity_columns else "none across segments",
        }
    )
