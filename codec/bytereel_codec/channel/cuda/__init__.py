"""The lossy channel on an NVIDIA card: the same classes and functions as beside this package, byte for byte.

Kernels take their tables, their constants and most of their arithmetic from the CPU's own functions, which compile for
a card as well; margins too are the same. Nothing here is imported before a card is chosen, as `numba.cuda` takes its
time to load. Under numba's simulator (NUMBA_ENABLE_CUDASIM=1) all of it runs without a card, slowly.

The simulator runs more than compiles: no `min` and `max` in kernels (numba 0.68 knows them for no card), and whole
numbers all signed or all unsigned in an expression, as the two together make a float.
"""

import warnings

# Small pictures fill no card, and no user can help it.
warnings.filterwarnings("ignore", message=".*under-utilization")
