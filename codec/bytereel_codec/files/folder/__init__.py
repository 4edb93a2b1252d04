"""A folder as one stream of bytes (tar, POSIX pax), and a folder from such a stream, safely and in bounded memory."""
