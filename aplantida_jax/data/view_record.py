"""A recorded training view as bytes: its geometry, and the seed of its colours."""

import numpy as np

# `x`, `y`, `side` as in `transforms.View`; `angle` in degrees; `blur` is the standard
# deviation as a fraction of the view's side, since networks of all sizes see it;
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
