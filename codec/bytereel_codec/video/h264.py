"""The H.264 syntax around the macroblocks: parameter sets, slice header, filler macroblocks. Pure functions.

Every picture is one IDR slice: High profile, CAVLC, 4:2:0, 8 bits, full range, the smallest level, deblocking off.
Macroblocks that carry nothing are Intra 16x16 with DC prediction and no residual: 8 bits each, 13 beside an I_PCM one.

Source: ITU-T H.264 (08/2021) 7.3.2.1 (SPS), 7.3.2.2 (PPS), 7.3.3 (slice header), table 7-11 (mb_type), annex E (VUI).
"""

from functools import lru_cache

from bytereel_codec.frame.geometry import EXPANSION, Geometry
from bytereel_codec.video.levels import level_of

_NAL_SPS = 0x67
_NAL_PPS = 0x68
_NAL_IDR = 0x65
_PROFILE_HIGH = 100
_MB_I_PCM = 25
# ue(3) = I_16x16_2_0_0, ue(0) chroma DC prediction, se(0) mb_qp_delta, and coeff_token for no coefficient
_FILLER = "00100111"
_FILLER_BESIDE_PCM = "0010011000011"


def _ue(value: int) -> str:
    bits = f"{value + 1:b}"
    return "0" * (len(bits) - 1) + bits


def _se(value: int) -> str:
    return _ue(2 * value - 1 if value > 0 else -2 * value)


def _bytes_of(bits: str) -> bytes:
    bits += "0" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")


def _escaped(payload: bytes) -> bytes:
    """The payload with emulation prevention bytes."""
    out = bytearray()
    for value in payload:
        if value <= 3 and out[-2:] == b"\x00\x00":
            out.append(3)
        out.append(value)
    return bytes(out)


def level_number(geometry: Geometry) -> int:
    """level_idc of a reel whose pictures are full of samples."""
    level = level_of(
        geometry.width // 16,
        geometry.height // 16,
        geometry.frames_per_second,
        int(EXPANSION * geometry.picture_bytes),
    )
    assert level is not None, "the frame rate of a geometry is chosen for a level to hold it"
    return level.number


def sequence_parameter_set(geometry: Geometry) -> bytes:
    """The SPS NAL unit of a geometry."""
    vui = "".join(
        (
            "1",
            f"{1:08b}",  # aspect_ratio_idc 1: square
            "0",  # overscan_info
            "1",
            f"{5:03b}",
            "1",  # video_signal_type: unspecified format, full range
            "1",
            f"{1:08b}",
            f"{1:08b}",
            f"{1:08b}",  # colour description BT.709
            "0",  # chroma_loc_info
            "1",
            f"{1:032b}",
            f"{2 * geometry.frames_per_second:032b}",
            "1",  # timing, fixed rate
            "0",
            "0",
            "0",  # no HRD, no pic_struct
            "1",
            "1",
            _ue(0),
            _ue(0),
            _ue(16),
            _ue(16),
            _ue(0),
            _ue(1),  # bitstream restriction: no reordering
        )
    )
    bits = "".join(
        (
            f"{_PROFILE_HIGH:08b}",
            "00000000",
            f"{level_number(geometry):08b}",
            _ue(0),  # seq_parameter_set_id
            _ue(1),
            _ue(0),
            _ue(0),
            "0",
            "0",  # 4:2:0, 8 bits, no bypass, no scaling matrix
            _ue(0),
            _ue(2),  # log2_max_frame_num - 4, pic_order_cnt_type
            _ue(1),
            "0",  # max_num_ref_frames, no gaps
            _ue(geometry.width // 16 - 1),
            _ue(geometry.height // 16 - 1),
            "1",
            "1",
            "0",
            "1",
            vui,  # frames only, direct_8x8, no cropping, VUI
            "1",
        )
    )
    return _escaped(bytes([_NAL_SPS]) + _bytes_of(bits))


def picture_parameter_set() -> bytes:
    """The PPS NAL unit, the same for every geometry."""
    bits = "".join(
        (
            _ue(0),
            _ue(0),
            "0",
            "0",
            _ue(0),
            _ue(0),
            _ue(0),
            "0",
            "00",
            _se(0),
            _se(0),
            _se(0),
            "1",
            "0",
            "0",
            "1",
        )
    )
    return _escaped(bytes([_NAL_PPS]) + _bytes_of(bits))


@lru_cache(maxsize=2)
def slice_start(idr_id: int) -> bytes:
    """NAL header and slice header of an IDR picture, up to the samples of its first I_PCM macroblock.

    `idr_id` is 0 or 1; neighbouring pictures take different ones.
    """
    bits = "".join(
        (
            _ue(0),
            _ue(7),
            _ue(0),
            "0000",
            _ue(idr_id),
            "0",
            "0",
            _se(0),
            _ue(1),
            _ue(_MB_I_PCM),
        )
    )
    return bytes([_NAL_IDR]) + _bytes_of(bits)


@lru_cache(maxsize=64)
def slice_end(geometry: Geometry, used: int) -> bytes:
    """What follows the `used` I_PCM macroblocks of a picture: filler macroblocks, the stop bit and its alignment.

    The code for "no coefficient" depends on the macroblocks to the left and above: I_PCM counts as 16 coefficients,
    filler as none, and a mean of 8 or more takes the long code. Source: ITU-T H.264 9.2.1, table 9-5.
    """
    columns = geometry.width // 16
    bits = []
    for macroblock in range(used, min(used + columns, geometry.macroblocks)):
        left_is_pcm = macroblock == used and macroblock % columns != 0
        top_is_pcm = 0 <= macroblock - columns < used
        bits.append(_FILLER_BESIDE_PCM if left_is_pcm or top_is_pcm else _FILLER)
    rest = geometry.macroblocks - used - len(bits)
    return _bytes_of("".join(bits) + _FILLER * rest + "1")
