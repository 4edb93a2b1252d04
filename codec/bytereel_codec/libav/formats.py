"""What libavformat may take a file for. Everything else could name other files, or the network: playlists, session
descriptions, concatenations.

Source: libavformat `format_whitelist`, `protocol_whitelist`.
"""

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

SAFE = {"format_whitelist": ",".join(_FORMATS), "protocol_whitelist": "none"}
"""Options for every file that is opened to be read."""
