"""The sizes, in bytes, that the format fixes: of a frame's parts and of macroblocks.

Source: FORMAT.md sections 3 to 5 and 7.
"""

HEADER_BYTES = 128
DIGEST_BYTES = 32
MACROBLOCK_BYTES = 384
MACROBLOCK_CODED_BYTES = 386
WHITENING_BYTES = 65536
GROUP_MACROBLOCKS = 512
"""Macroblocks that are handled at a time: the memory for it is what a core's own cache holds."""
