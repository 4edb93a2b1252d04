"""The golden vectors: what was written once decodes for ever, by the package and by the independent decoder.

The files in tests/vectors are frozen. A failure here is a fault of the code, never of a vector.
"""

import hashlib
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from bytereel_codec import BytereelError, DecodeOptions, Secret, decode_file, inspect, open_reel, verify

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS / "codec"), str(TESTS / "vectors")]

import independent_decoder as independent  # noqa: E402
import make  # noqa: E402

RECIPES = {recipe.name: recipe for recipe in make.RECIPES}
VECTORS = sorted(path.stem for path in make.FOLDER.glob("*.mp4"))
SEALED = sorted(name for name, recipe in RECIPES.items() if recipe.secret)
BURSTS = sorted(name for name, recipe in RECIPES.items() if recipe.profile != "archive")
REPRODUCIBLE = sorted(name for name, recipe in RECIPES.items() if recipe.reproducible)
WHOLE = sorted(name for name, recipe in RECIPES.items() if not recipe.cut)
BYTES_MAX = 800_000
LEVEL_STATED = 62


def described(name: str) -> dict[str, Any]:
    description: dict[str, Any] = json.loads((make.FOLDER / f"{name}.json").read_text("ascii"))
    return description


def reel_of(name: str) -> bytes:
    return (make.FOLDER / f"{name}.mp4").read_bytes()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def secret_bytes(name: str) -> dict[str, bytes]:
    """The secret that the JSON states, as arguments of `Secret` and of the independent decoder."""
    stated = described(name)["secret"] or {}
    return {kind: text.encode() if kind == "passphrase" else bytes.fromhex(text) for kind, text in stated.items()}


def secret_of(name: str) -> Secret | None:
    return Secret(**secret_bytes(name)) if secret_bytes(name) else None


def test_every_vector_is_frozen_and_none_has_changed() -> None:
    assert json.loads(make.CHECKSUMS.read_text("ascii")) == make.checksums()
    assert (
        sorted(RECIPES) == VECTORS == sorted(path.stem for path in make.FOLDER.glob("*.json") if path.stem in RECIPES)
    )
    assert sum(path.stat().st_size for path in make.FOLDER.iterdir() if path.suffix != ".py") < BYTES_MAX


@pytest.mark.parametrize("name", VECTORS)
def test_the_reel_is_the_one_its_json_describes(name: str) -> None:
    assert described(name)["reel"] == {"bytes": len(reel_of(name)), "sha256": sha256(reel_of(name))}


@pytest.mark.parametrize("name", VECTORS)
def test_the_independent_decoder_gives_the_source_back(name: str) -> None:
    expected = described(name)
    (reel,) = RECIPES[name].decoder.decode(reel_of(name), **secret_bytes(name)).values()
    assert reel.source is not None
    assert {"bytes": len(reel.source), "sha256": sha256(reel.source)} == expected["source"]
    assert (reel.leader, reel.recovered, reel.tree_checked) == (expected["leader"], expected["recovered_frames"], True)
    assert reel.reel_id.hex() == expected["reel_id"]


@pytest.mark.parametrize("name", VECTORS)
def test_the_package_gives_the_source_back(name: str, tmp_path: Path) -> None:
    expected = described(name)
    report = decode_file(make.FOLDER / f"{name}.mp4", tmp_path / "out", DecodeOptions(secret=secret_of(name)))
    assert (report.whole, report.recovered_frames) == (True, expected["recovered_frames"])
    if expected["leader"]["kind"] == "folder":
        found = {str(p.relative_to(tmp_path / "out")): p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
        assert found == make.FOLDER_FILES
    else:
        assert sha256((tmp_path / "out").read_bytes()) == expected["source"]["sha256"]


@pytest.mark.parametrize("name", VECTORS)
def test_the_package_reads_the_source_as_a_file(name: str) -> None:
    with open_reel(make.FOLDER / f"{name}.mp4", secret_of(name)) as opened:
        assert sha256(opened.read()) == described(name)["source"]["sha256"]


@pytest.mark.parametrize("name", VECTORS)
def test_the_package_reads_and_proves_what_the_leader_says(name: str) -> None:
    path, secret, leader = make.FOLDER / f"{name}.mp4", secret_of(name), described(name)["leader"]
    found = inspect(path, secret)
    assert found.leader is not None
    assert {key: getattr(found.leader, key) for key in leader} == leader
    assert verify(path, DecodeOptions(secret=secret)).digest == leader["digest"]


@pytest.mark.parametrize("name", SEALED)
def test_another_secret_opens_nothing(name: str, tmp_path: Path) -> None:
    wrong = dict.fromkeys(secret_bytes(name), b"w" * 32)
    with pytest.raises(independent.SecretError):
        RECIPES[name].decoder.decode(reel_of(name), **wrong)
    with pytest.raises(BytereelError):
        decode_file(make.FOLDER / f"{name}.mp4", tmp_path / "out", DecodeOptions(secret=Secret(**wrong)))


@pytest.mark.parametrize("name", REPRODUCIBLE)
def test_the_same_source_and_randomness_give_the_same_reel(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the release did that made the vector: it stated its own name, and level 6.2."""
    monkeypatch.setattr("bytereel_codec.writing.reel_plan.SOFTWARE", described(name)["leader"]["software"])
    monkeypatch.setattr("bytereel_codec.video.h264.level_number", lambda _: LEVEL_STATED)
    assert sha256(make.encode(RECIPES[name], tmp_path)) == described(name)["reel"]["sha256"]


@pytest.mark.parametrize("name", WHOLE)
def test_a_reel_made_anew_decodes_in_the_independent_decoder(name: str, tmp_path: Path) -> None:
    (reel,) = RECIPES[name].decoder.decode(make.encode(RECIPES[name], tmp_path), **secret_bytes(name)).values()
    assert reel.source is not None
    assert reel.tree_checked
    if RECIPES[name].source[0] != "folder":
        assert sha256(reel.source) == described(name)["source"]["sha256"]


@pytest.mark.parametrize("name", sorted(set(WHOLE) - set(BURSTS)))
def test_boxes_stand_as_the_format_says(name: str) -> None:
    """Source: FORMAT.md section 6."""
    video = reel_of(name)
    boxes = list(make.boxes(video))
    kinds = [kind for kind, _, _ in boxes]
    starts = [at for kind, at, _ in boxes if kind == b"moof"]
    assert kinds[:2] == [b"ftyp", b"moov"]
    assert (b"sidx" in kinds) == (name != "stream")
    for picture, at in enumerate(starts):
        assert video[at + 4 : at + 8] + video[at + 12 : at + 16] == b"moofmfhd"
        assert int.from_bytes(video[at + 20 : at + 24], "big") == picture + 1
        tfdt = video.index(b"tfdt", at)
        assert int.from_bytes(video[tfdt + 8 : tfdt + 16], "big") == 1000 * picture
        assert video[at + 96 : at + 100] == b"mdat"
        assert video[at + 104 : at + 109] in (b"\x65\x88\x84\xa0\xd0", b"\x65\x88\x82\x28\x34")
        assert (video[at + 106] == 0x84) == (picture % 2 == 0)
    if name != "stream":
        at = boxes[kinds.index(b"sidx")][1]
        rows = [int.from_bytes(video[i : i + 4], "big") for i in range(at + 40, starts[0], 12)]
        assert rows == [end - start for start, end in zip(starts, [*starts[1:], len(video)], strict=True)]


@pytest.mark.parametrize("name", [name for name in BURSTS if not RECIPES[name].recoded])
def test_boxes_of_bursts_stand_as_the_format_says(name: str) -> None:
    """Source: FORMAT.md section 12."""
    video = reel_of(name)
    boxes = list(make.boxes(video))
    starts = [at for kind, at, _ in boxes if kind == b"moof"]
    assert [kind for kind, _, _ in boxes][:3] == [b"ftyp", b"moov", b"sidx"]
    assert len(starts) == 2 + described(name)["leader"]["segments"]
    at = next(at for kind, at, _ in boxes if kind == b"sidx")
    rows = [int.from_bytes(video[i : i + 4], "big") for i in range(at + 40, starts[0], 12)]
    assert rows == [end - start for start, end in zip(starts, [*starts[1:], len(video)], strict=True)]
    times = []
    for start in starts:
        tfdt = video.index(b"tfdt", start)
        times.append(int.from_bytes(video[tfdt + 8 : tfdt + 16], "big"))
        assert 1000 * int.from_bytes(video[start + 20 : start + 24], "big") == times[-1] + 1000
    assert times[0] == 0
    assert times == sorted(times)


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The vectors in a folder that `make.main` may write to."""
    folder = tmp_path / "vectors"
    shutil.copytree(make.FOLDER, folder)
    monkeypatch.setattr(make, "FOLDER", folder)
    monkeypatch.setattr(make, "CHECKSUMS", folder / "checksums.json")
    monkeypatch.setattr(make, "RECIPES", make.RECIPES[:2])
    monkeypatch.setattr(sys, "argv", ["make.py"])
    return folder


def test_making_vectors_again_changes_none(copied: Path) -> None:
    before = make.checksums()
    assert make.main() == 0
    assert make.checksums() == before


def test_making_vectors_refuses_when_one_has_changed(copied: Path) -> None:
    (copied / "empty.mp4").write_bytes(b"another reel")
    assert make.main() == 1
    assert (copied / "empty.mp4").read_bytes() == b"another reel"


def test_making_vectors_refuses_to_replace_one_that_is_not_frozen(copied: Path) -> None:
    (copied / "checksums.json").write_text("{}")
    before = make.checksums()
    assert make.main() == 1
    assert make.checksums() == before


def test_a_new_format_version_replaces_vectors(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (copied / "empty.mp4").write_bytes(b"a reel of the old version")
    monkeypatch.setattr(sys, "argv", ["make.py", "--new-format-version"])
    assert make.main() == 0
    assert (copied / "empty.mp4").read_bytes() != b"a reel of the old version"
    assert json.loads((copied / "checksums.json").read_text("ascii")) == make.checksums()
