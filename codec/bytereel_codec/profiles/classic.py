"""The rest of the 16-colour family: other numbers of colours, cells of one pixel, other palettes, the XOR interleaver.

`classic16` is the member that is measured and claims to survive something. The others claim nothing: trying them
shows what they stand.
"""

from dataclasses import replace

from bytereel_codec.channel.modulation import PALETTES, Code, Family, Modulation, fields_of_cells
from bytereel_codec.errors import Permanent
from bytereel_codec.profiles.profiles import PROFILES, USER_DEFINED, Channel, Profile

COLOURS = (4, 16, 64, 256)
PIXELS = (1, 9)
INTERLEAVERS = ("rs", "xor")
XOR_GROUP_BLOCKS = 4

# The own encoder's QP for each number of colours: about the coarsest that a re-encode with x264 CRF 18 forgives,
# where one does at all; 256 greys need every bit. Source: measured, see docs/adr/0009.
_QUANTISERS = {
    ("yuv", 9): {4: 36, 16: 33, 64: 25, 256: 18},
    ("ega", 9): {4: 30, 16: 28, 64: 24, 256: 16},
    ("yuv", 1): {4: 24, 16: 12, 64: 2, 256: 0},
}
# Bytes of video for each byte of symbols, about. Source: as above.
_EXPANSIONS = {
    ("yuv", 9): {4: 13.2, 16: 9.1, 64: 10.6, 256: 10.5},
    ("ega", 9): {4: 23.0, 16: 12.7, 64: 10.6, 256: 10.9},
    ("yuv", 1): {4: 3.6, 16: 3.2, 64: 3.4, 256: 3.3},
}


def classic_profile(*, colours: int = 16, pixels: int = 9, palette: str = "yuv", interleaver: str = "rs") -> Profile:
    """A member of the family. `pixels` a symbol: 9 (3 x 3) or 1, which carries greys alone.

    Raises: Permanent `profile.classic` for values that there are not.
    """
    for name, value, known in (
        ("colours", colours, COLOURS),
        ("pixels", pixels, PIXELS),
        ("palette", palette, PALETTES),
        ("interleaver", interleaver, INTERLEAVERS),
    ):
        if value not in known:
            raise Permanent("profile.classic", f"{name} {value!r} is none of {', '.join(map(str, known))}")
    if (pixels, palette) == (1, "ega"):
        raise Permanent("profile.classic", "one pixel has no colour of its own in 4:2:0", hint="leave the palette out")
    base = PROFILES["classic16"]
    if (colours, pixels, palette, interleaver) == (16, 9, "yuv", "rs"):
        return base
    assert base.channel is not None
    modulation = Modulation(
        Family.CELLS,
        *fields_of_cells(colours, pixels, palette),
        parity=XOR_GROUP_BLOCKS if interleaver == "xor" else base.channel.modulation.parity,
        code=Code.XOR if interleaver == "xor" else Code.REED_SOLOMON,
    )
    return Profile(
        f"classic{colours}",
        f"{colours} colours, {pixels} pixels a symbol, palette {palette}, {interleaver}",
        "nothing is claimed: only trying it shows",
        USER_DEFINED,
        _channel(base.channel, modulation, _QUANTISERS[palette, pixels][colours]),
    )


def expansion_of(modulation: Modulation) -> float:
    """About how large a long reel of such cells is, at the quantiser that the family has for them."""
    cost = _EXPANSIONS[PALETTES[modulation.palette], modulation.side**2][1 << modulation.first]
    return round(cost / modulation.data_share, 1)


def _channel(base: Channel, modulation: Modulation, quantiser: int) -> Channel:
    options = {**dict(base.encoder_options), "qp": str(quantiser)}
    return replace(
        base,
        modulation=modulation,
        quantiser=quantiser,
        encoder_options=tuple(options.items()),
        expansion=expansion_of(modulation),
    )
