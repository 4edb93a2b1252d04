"""What libavformat may take a file for, and what it may spend on it before it says what the file holds.

Everything else could name other files, or the network: playlists, session descriptions, concatenations. A codec that is
not named here is never opened, not even while a file is probed: an attached picture of 256 megapixels costs nothing.

Source: libavformat `format_whitelist`, `protocol_whitelist`, `codec_whitelist`, `max_streams`, `probesize`,
`analyzeduration`, `formatprobesize`; libavcodec `max_pixels`, `threads`.
"""

PIXELS_MAX = 3840 * 2160
"""Of a picture: the largest that a reel has."""

YUV = "yuv420p"
PLANAR_FORMATS = (YUV, "yuvj420p", "yuv420p10le")
"""libavutil's names of the 4:2:0 pictures that may be a reel's."""

RGB = "rgb24"
PIXEL_FORMATS = (*PLANAR_FORMATS, RGB)

_FORMATS = (
    *(
        "mov",
        "mp4",
        "m4a",
        "3gp",
        "3g2",
        "mj2",
        "matroska",
        "webm",
        "mpegts",
        "mpeg",
        "avi",
        "flv",
        "ivf",
        "nut",
        "ogg",
    ),
    *("asf", "mxf", "h264", "hevc", "av1", "obu", "mpegvideo", "m4v", "yuv4mpegpipe"),
)

DECODERS = (
    *("h264", "hevc", "libdav1d", "av1", "vp8", "vp9", "libvpx", "libvpx-vp9", "mpeg4", "mpeg2video"),
    *("ffv1", "ffvhuff", "utvideo", "magicyuv", "rawvideo"),
)
"""What a reel can come back in as 4:2:0: what platforms make, and codecs without loss."""

_STREAMS_MAX = 64
_PROBED_BYTES_MAX = 5_000_000
_PROBED_MICROSECONDS_MAX = 5_000_000
_SNIFFED_BYTES_MAX = 1 << 20

SAFE = {
    "format_whitelist": ",".join(_FORMATS),
    "protocol_whitelist": "none",
    "codec_whitelist": ",".join(DECODERS),
    "max_pixels": str(PIXELS_MAX),
    "max_streams": str(_STREAMS_MAX),
    "probesize": str(_PROBED_BYTES_MAX),
    "analyzeduration": str(_PROBED_MICROSECONDS_MAX),
    "formatprobesize": str(_SNIFFED_BYTES_MAX),
    "threads": "1",
}
"""Options for every file that is opened to be read; those of codecs hold while it is probed."""

DECODER_LIMITS = {name: SAFE[name] for name in ("codec_whitelist", "max_pixels")}
"""Options for the decoder that is opened then: what a container states of its pictures may be a lie."""
