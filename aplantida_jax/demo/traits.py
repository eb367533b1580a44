"""What the invented plants look like: a genus's traits and how its species differ.

A genus shares its habit and most else, and each of its species departs from that in at
most three traits, so that a genus is easier to tell than a species, as in the field.
"""

import dataclasses
from typing import Any

Colour = tuple[int, int, int]  # RGB, 0-255

GREEN: Colour = (78, 128, 52)
DARK: Colour = (44, 92, 48)
LIGHT: Colour = (128, 164, 66)
LIME: Colour = (112, 168, 58)
SAGE: Colour = (96, 132, 92)
GREY: Colour = (132, 154, 124)
BLUISH: Colour = (88, 138, 120)
RUSSET: Colour = (138, 72, 58)
WHITE: Colour = (244, 242, 234)
CREAM: Colour = (232, 222, 160)
YELLOW: Colour = (244, 208, 36)
LEMON: Colour = (224, 232, 92)
GOLD: Colour = (244, 166, 30)
ORANGE: Colour = (240, 128, 28)
RED: Colour = (206, 38, 40)
ROSE: Colour = (214, 62, 112)
PINK: Colour = (240, 148, 178)
BLUSH: Colour = (244, 184, 204)
MAGENTA: Colour = (206, 62, 150)
LILAC: Colour = (186, 150, 220)
VIOLET: Colour = (116, 62, 176)
BLUE: Colour = (70, 96, 212)
SKY: Colour = (128, 176, 236)
BROWN: Colour = (92, 56, 32)
STRAW: Colour = (204, 176, 104)
PLUM: Colour = (118, 60, 96)
BLACK: Colour = (44, 34, 52)


@dataclasses.dataclass(frozen=True)
class Traits:
    """What a plant looks like.

    Attributes:
        habit: rosette, upright, branching, grass or climbing.
        flower: rays, bells, umbel, spike, petals, panicle, globe, trumpet, thistle
            or none.
        leaf: outline of the leaf or leaflet: linear, lanceolate, ovate, elliptic,
            spatulate, cordate, lobed or palmate.
        leaf_width: half width over length of the leaf blade.
        leaf_size: length over height of the plant.
        margin: entire, serrate, crenate or spiny.
        division: simple, pinnate, trifoliate or digitate.
        opposite: leaves stand in pairs, else alternate.
        petals: rays, petals or lobes of one flower.
        petal: outline of the petal: narrow, broad, notched or pointed.
        flower_size: diameter over height of the plant.
        spots: petals carry spots of the centre's colour.
        fruit: none, berries or pods.
    """

    habit: str
    flower: str
    leaf: str
    leaf_width: float = 0.2
    leaf_size: float = 0.3
    margin: str = "entire"
    division: str = "simple"
    opposite: bool = False
    petals: int = 5
    petal: str = "broad"
    flower_size: float = 0.24
    spots: bool = False
    fruit: str = "none"
    leaf_colour: Colour = GREEN
    vein_colour: Colour = LIGHT
    stem_colour: Colour = GREEN
    petal_colour: Colour = WHITE
    centre_colour: Colour = YELLOW
    fruit_colour: Colour = BROWN


GENERA = {
    "Aurelina": Traits(
        "upright",
        "rays",
        "lanceolate",
        margin="serrate",
        petals=13,
        petal="narrow",
        flower_size=0.34,
        petal_colour=YELLOW,
        centre_colour=BROWN,
    ),
    "Nolabella": Traits(
        "upright",
        "bells",
        "cordate",
        leaf_width=0.36,
        leaf_size=0.26,
        flower_size=0.19,
        margin="crenate",
        petal_colour=BLUE,
        leaf_colour=BLUISH,
    ),
    "Umbrasela": Traits(
        "branching",
        "umbel",
        "ovate",
        leaf_width=0.26,
        leaf_size=0.36,
        margin="serrate",
        division="pinnate",
        flower_size=0.4,
        leaf_colour=LIME,
    ),
    "Tetrastrella": Traits(
        "rosette",
        "petals",
        "lobed",
        leaf_size=0.46,
        petals=4,
        flower_size=0.26,
        fruit="pods",
        petal_colour=YELLOW,
        centre_colour=LIGHT,
        fruit_colour=LIGHT,
    ),
    "Spicarda": Traits(
        "upright",
        "spike",
        "ovate",
        leaf_width=0.28,
        leaf_size=0.27,
        margin="serrate",
        opposite=True,
        flower_size=0.15,
        stem_colour=PLUM,
        petal_colour=VIOLET,
        leaf_colour=DARK,
    ),
    "Rosarvia": Traits(
        "branching",
        "petals",
        "elliptic",
        leaf_width=0.3,
        leaf_size=0.34,
        margin="serrate",
        division="pinnate",
        petal="notched",
        flower_size=0.3,
        fruit="berries",
        stem_colour=BROWN,
        petal_colour=PINK,
        fruit_colour=RED,
    ),
    "Gramentia": Traits(
        "grass",
        "panicle",
        "linear",
        leaf_width=0.022,
        leaf_size=0.75,
        flower_size=0.3,
        petal_colour=STRAW,
        leaf_colour=LIGHT,
    ),
    "Ederina": Traits(
        "climbing",
        "none",
        "palmate",
        leaf_size=0.27,
        fruit="berries",
        leaf_colour=DARK,
        stem_colour=BROWN,
        fruit_colour=BLACK,
    ),
    "Trifolanda": Traits(
        "rosette",
        "globe",
        "elliptic",
        leaf_width=0.36,
        leaf_size=0.42,
        division="trifoliate",
        petals=16,
        flower_size=0.26,
        vein_colour=(178, 204, 132),
        petal_colour=MAGENTA,
        centre_colour=PINK,
        leaf_colour=LIME,
    ),
    "Convelia": Traits(
        "climbing",
        "trumpet",
        "cordate",
        leaf_width=0.38,
        leaf_size=0.22,
        flower_size=0.27,
        centre_colour=LEMON,
    ),
    "Cardorina": Traits(
        "upright",
        "thistle",
        "lobed",
        leaf_size=0.36,
        margin="spiny",
        flower_size=0.28,
        petal_colour=MAGENTA,
        centre_colour=GREEN,
        leaf_colour=SAGE,
    ),
    "Liriastra": Traits(
        "rosette",
        "petals",
        "linear",
        leaf_width=0.06,
        leaf_size=0.7,
        petals=6,
        petal="pointed",
        flower_size=0.42,
        spots=True,
        petal_colour=ORANGE,
        centre_colour=BROWN,
        leaf_colour=BLUISH,
    ),
}
DIFFERENCES: dict[str, dict[str, Any]] = {
    "Aurelina litoralis": {"petals": 8, "petal": "broad", "petal_colour": GOLD},
    "Aurelina pallida": {"petals": 21, "petal_colour": WHITE, "centre_colour": YELLOW},
    "Nolabella aërea": {"petal_colour": WHITE},
    "Nolabella gracilis": {
        "petal_colour": VIOLET,
        "leaf": "linear",
        "leaf_width": 0.06,
    },
    "Umbrasela rosea": {"petal_colour": PINK, "stem_colour": RUSSET},
    "Umbrasela flavescens": {
        "petal_colour": LEMON,
        "leaf": "linear",
        "leaf_width": 0.05,
    },
    "Umbrasela gigantea": {"division": "simple", "leaf": "palmate", "leaf_size": 0.42},
    "Tetrastrella lilacina": {"petal_colour": LILAC, "leaf": "spatulate"},
    "Spicarda candida": {"petal_colour": WHITE, "stem_colour": GREEN},
    "Spicarda coccinea": {
        "petal_colour": RED,
        "leaf": "lanceolate",
        "leaf_width": 0.16,
    },
    "Rosarvia canescens": {"leaf_colour": GREY},
    "Rosarvia rubra": {"petal_colour": ROSE, "leaf_colour": DARK},
    "Rosarvia alpina": {"petal_colour": WHITE, "fruit_colour": BLACK},
    "Rosarvia × aurata": {"petal_colour": YELLOW, "division": "trifoliate"},
    "Gramentia purpurascens": {"petal_colour": PLUM, "leaf_colour": DARK},
    "Gramentia glauca": {
        "leaf_colour": (96, 144, 152),
        "flower": "spike",
        "flower_size": 0.1,
    },
    "Ederina rubella": {"leaf_colour": RUSSET, "fruit_colour": RED},
    "Trifolanda nivalis": {"petal_colour": WHITE, "centre_colour": CREAM},
    "Trifolanda crocea": {
        "petal_colour": ORANGE,
        "centre_colour": YELLOW,
        "division": "digitate",
    },
    "Convelia azurea": {"petal_colour": BLUE, "centre_colour": YELLOW},
    "Convelia rosacea": {
        "petal_colour": BLUSH,
        "centre_colour": WHITE,
        "leaf": "lanceolate",
    },
    "Cardorina lactea": {"vein_colour": WHITE, "leaf_width": 0.3, "margin": "serrate"},
    "Cardorina citrina": {"petal_colour": YELLOW},
    "Cardorina cinerea": {
        "leaf_colour": GREY,
        "petal_colour": SKY,
        "centre_colour": GREY,
    },
    "Liriastra virginea": {
        "petal_colour": WHITE,
        "spots": False,
        "centre_colour": YELLOW,
    },
}
