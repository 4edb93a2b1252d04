"""A real file goes in by upload, comes out as a video, is played by libavcodec, is restored and compared.

Everything is done by the `bytereel` command as a user would, in a home of its own under build/demo, which stays.
Ends with 0 only when every byte came back and the video plays.
"""

import hashlib
import shutil
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

from demo.home import DemoHome, Finished
from demo.player import Playing, play

PLACE = Path("build/demo")
DEFAULT_BYTES_MAX = 100 << 20


def main(arguments: list[str]) -> int:
    """Run the demo on the file named, or on one that PyAV brings; return the exit status."""
    source = Path(arguments[0]) if arguments else default_source()
    if not source.is_file():
        print(f"demo: {str(source)!r} is not a file", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    started_at = time.monotonic()
    shutil.rmtree(PLACE, ignore_errors=True)
    print(f"\nThe file   {source.name}, {source.stat().st_size:,} bytes")
    try:
        with DemoHome(PLACE / "home") as home:
            same = round_trip(home, source)
    except (subprocess.SubprocessError, RuntimeError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ndemo: interrupted; everything it started has ended", file=sys.stderr)
        return 130
    print(f"\nDone in {time.monotonic() - started_at:.1f} s. {'Every byte came back.' if same else 'IT FAILED.'}")
    return 0 if same else 1


def default_source() -> Path:
    """The largest library of some tens of MB that PyAV brings: as a rule the x265 encoder, now a video itself."""
    package = find_spec("av")
    assert package is not None
    assert package.origin is not None
    folder = Path(package.origin).parent
    found = [*folder.parent.glob("av.libs/*"), *folder.glob(".dylibs/*"), *folder.glob("*.pyd"), *folder.glob("*.so")]
    return max(
        (path for path in found if path.stat().st_size <= DEFAULT_BYTES_MAX), key=lambda path: path.stat().st_size
    )


def round_trip(home: DemoHome, source: Path) -> bool:
    """To a video and back; whether the video plays and what came back is the same."""
    print("\nTo a video")
    archived = home.put(source, "archive")
    show(archived)
    video = PLACE / f"{source.name}.mp4"
    video.hardlink_to(archived.path)
    print(f"  expansion  {archived.output_bytes / max(1, archived.source_bytes):.4f} x")

    print("\nPlayed by libavcodec")
    plays = show_playing(play(video))

    print("\nAnd back")
    restored = home.put(video, "restore")
    show(restored)

    print("\nCompared (SHA-256)")
    digests = [sha256_of(source), sha256_of(restored.path)]
    for digest, path in zip(digests, (source, restored.path), strict=True):
        print(f"  {digest}  {path.name}")
    same = digests[0] == digests[1]
    print("  the same, bit for bit" if same else "  NOT THE SAME")
    print(f"\nThe video  {video.resolve()}")
    print("           any player opens it: VLC, mpv, ffplay, a browser")
    return same and plays


def show(job: Finished) -> None:
    """Print what a job made of what, and how fast."""
    print(f"  {job.source_bytes:,} bytes became {job.output_bytes:,} bytes")
    larger = max(job.source_bytes, job.output_bytes)
    print(
        f"  {job.job_seconds:.2f} s from upload to done, {larger / max(job.job_seconds, 1e-3) / 1e6:,.0f} MB/s", end=""
    )
    print(f" ({job.command_seconds:.2f} s for the whole command)")


def show_playing(playing: Playing) -> bool:
    """Print what the player saw; whether that is a video of its stated length."""
    print(
        f"  {playing.codec}, {playing.width} x {playing.height}, {playing.pictures} pictures, {playing.seconds:.1f} s"
    )
    shown = ", ".join(f"picture {number}" for number in playing.decoded)
    print(f"  decoded {shown}" if playing.decoded else "  NOTHING could be decoded")
    return playing.right


def sha256_of(path: Path) -> str:
    """The file's SHA-256, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
