"""Where the plant is: a square box around what is salient.

Spectral-residual saliency (Hou & Zhang 2007, OpenCV contrib: 0.2 to 0.45 ms an image at
64 x 64) gives a map; its centroid and spread give the box; a map without a peak gives
the centre crop. Boxes are computed once per image and kept by `crop_boxes`, never per
epoch.
"""

import dataclasses

import cv2
import numpy as np

_MAP_SIDE = 64
# A box never gets smaller than this share of the short side: what matters of a plant
# (leaves around a flower) is wider than what stands out.
LEAST_SIDE = 0.6
# Half a side in standard deviations of the salient mass: 2 hold most of it.
_SPREAD = 2.0


@dataclasses.dataclass(frozen=True)
class Box:
    """A square, in fractions, so that it fits any size of the same picture.

    Attributes:
        x, y: centre, as a fraction of width and height.
        side: as a fraction of the short side, in (0, 1].
    """

    x: float
    y: float
    side: float


CENTRE = Box(0.5, 0.5, 1.0)


def saliency_box(image: np.ndarray) -> Box:
    """The salient square of an RGB image.

    Args:
        image: uint8 [h, w, 3].

    Returns:
        A box that lies inside the image; `CENTRE` when nothing stands out.
    """
    saliency = _saliency_map(image)
    if saliency is None:
        return CENTRE
    # Squaring favours the peak over the diffuse background.
    weight = saliency.astype(np.float64) ** 2
    total = weight.sum()
    grid = (np.arange(_MAP_SIDE) + 0.5) / _MAP_SIDE
    x = float(weight.sum(axis=0) @ grid / total)
    y = float(weight.sum(axis=1) @ grid / total)
    spread_x = np.sqrt(weight.sum(axis=0) @ (grid - x) ** 2 / total)
    spread_y = np.sqrt(weight.sum(axis=1) @ (grid - y) ** 2 / total)
    height, width = image.shape[:2]
    short = min(height, width)
    spread = max(spread_x * width, spread_y * height) / short
    side = float(np.clip(2 * _SPREAD * spread, LEAST_SIDE, 1.0))
    half_x, half_y = side * short / width / 2, side * short / height / 2
    return Box(
        x=float(np.clip(x, half_x, 1 - half_x)),
        y=float(np.clip(y, half_y, 1 - half_y)),
        side=side,
    )


def _saliency_map(image: np.ndarray) -> np.ndarray | None:
    """Saliency float32 [64, 64] in 0..1, or None for a flat picture."""
    small = cv2.resize(image, (_MAP_SIDE, _MAP_SIDE), interpolation=cv2.INTER_AREA)
    if small.std() < 2:  # grey levels: a blank has no saliency, only rounding noise
        return None
    detector = cv2.saliency.StaticSaliencySpectralResidual.create()
    found, saliency = detector.computeSaliency(small)
    if not found or not np.isfinite(saliency).all() or saliency.max() <= 0:
        return None
    return saliency
