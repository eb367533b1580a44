"""Recorded training views: drawn once, so that teacher and student see the same ones.

A view is what `transforms.View` holds, and a seed for the colours that the device
draws; 16 bytes. Geometry is kept as float16, and is rounded to it before anyone renders
it: what is replayed is exactly what was seen.
"""

import numpy as np

# `x`, `y`, `side` as in `transforms.View`; `angle` in degrees; `blur` is the standard
# deviation as a fraction of the view's side, since networks of other sizes replay it;
# `flips` is 1 for left to right, plus 2 for top to bottom; `seed` is of the colours.
RECORD = np.dtype(
    [
        ("view", "u1"),
        ("x", "<f2"),
        ("y", "<f2"),
        ("side", "<f2"),
        ("angle", "<f2"),
        ("blur", "<f2"),
        ("flips", "u1"),
        ("seed", "<u4"),
    ]
)
