"""A frame as H.264 and MP4, written bit by bit; no library of video is asked."""
