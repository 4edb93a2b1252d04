"""The encoders of other projects that pictures are coded with, by libavcodec's names, and x264's presets.

Source: `ffmpeg -encoders`; `x264 --fullhelp`.
"""

LIBX264 = "libx264"
NVENC = "h264_nvenc"
X264_PRESETS = (
    "ultrafast",
    "superfast",
    "veryfast",
    "faster",
    "fast",
    "medium",
    "slow",
    "slower",
    "veryslow",
    "placebo",
)
