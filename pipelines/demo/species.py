"""The species of the generated survey: real names and lineages, drawn as silhouettes and coats.

Lengths are in units of the body from hip to shoulder. Colours are red, green, blue, 0..255.
"""

from dataclasses import dataclass

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Shape:
    """Measures of a silhouette seen from the side."""

    size: float  # height at the shoulder against a red deer's
    leg: float  # length of the legs
    leg_width: float
    chest: float  # depth of the body at the shoulder
    rump: float  # depth of the body at the hip
    neck: float
    neck_width: float
    head: float  # radius of the skull
    snout: float
    snout_width: float
    ear: float
    ear_width: float
    tail: float
    tail_width: float
    tail_drop: float  # angle below the horizontal, radians
    carriage: float  # angle of the neck above the horizontal, radians
    antlers: float = 0.0  # of adult males
    mane: float = 0.0  # height of the bristles on the back
    feet: int = 4


@dataclass(frozen=True)
class Coat:
    """Colours and pattern: plain, stripes, spots or patches."""

    back: Colour
    belly: Colour
    legs: Colour
    head: Colour
    tail: Colour
    pattern: str = "plain"
    mark: Colour = (40, 34, 30)
    young: Colour | None = None  # stripes of the young
    mask: Colour | None = None  # face stripes, or a patch on a bird's neck
    rump: Colour | None = None
    tail_tip: Colour | None = None


@dataclass(frozen=True)
class Species:
    """A taxon with its lineage, its names (ISO 639-3) and how it is drawn."""

    taxon: str
    lineage: dict[str, str]
    names: dict[str, str]
    shape: Shape
    coat: Coat
    night: float  # share of its visits that fall into the dark


def _lineage(group: str, order: str, family: str, genus: str) -> dict[str, str]:
    return {"kingdom": "Animalia", "phylum": "Chordata", "class": group, "order": order, "family": family,
            "genus": genus}  # fmt: skip


def _names(eng: str, fra: str, spa: str, por: str, deu: str) -> dict[str, str]:
    return {"eng": eng, "fra": fra, "spa": spa, "por": por, "deu": deu}


ROE_DEER = Species(
    "Capreolus capreolus",
    _lineage("Mammalia", "Artiodactyla", "Cervidae", "Capreolus"),
    _names("roe deer", "chevreuil", "corzo", "corço", "Reh"),
    Shape(size=0.62, leg=0.80, leg_width=0.040, chest=0.42, rump=0.46, neck=0.46, neck_width=0.11, head=0.125,
          snout=0.20, snout_width=0.06, ear=0.24, ear_width=0.075, tail=0.05, tail_width=0.05, tail_drop=0.6,
          carriage=1.05, antlers=0.24),
    Coat((158, 100, 58), (196, 160, 124), (150, 104, 66), (150, 100, 62), (214, 204, 190), rump=(236, 228, 214),
         young=(226, 198, 160)),
    night=0.45,
)  # fmt: skip
RED_FOX = Species(
    "Vulpes vulpes",
    _lineage("Mammalia", "Carnivora", "Canidae", "Vulpes"),
    _names("red fox", "renard roux", "zorro rojo", "raposa-vermelha", "Rotfuchs"),
    Shape(size=0.40, leg=0.42, leg_width=0.050, chest=0.34, rump=0.32, neck=0.20, neck_width=0.12, head=0.15,
          snout=0.25, snout_width=0.055, ear=0.21, ear_width=0.09, tail=0.88, tail_width=0.15, tail_drop=0.25,
          carriage=0.55),
    Coat((206, 106, 42), (232, 214, 196), (46, 38, 34), (206, 110, 50), (196, 104, 46), tail_tip=(244, 240, 232)),
    night=0.6,
)  # fmt: skip
WILD_BOAR = Species(
    "Sus scrofa",
    _lineage("Mammalia", "Artiodactyla", "Suidae", "Sus"),
    _names("wild boar", "sanglier", "jabalí", "javali", "Wildschwein"),
    Shape(size=0.60, leg=0.36, leg_width=0.060, chest=0.66, rump=0.50, neck=0.18, neck_width=0.25, head=0.20,
          snout=0.38, snout_width=0.10, ear=0.16, ear_width=0.08, tail=0.24, tail_width=0.025, tail_drop=1.2,
          carriage=-0.05, mane=0.11),
    Coat((74, 64, 58), (66, 58, 52), (46, 40, 38), (78, 68, 60), (52, 46, 42), young=(172, 136, 96)),
    night=0.6,
)  # fmt: skip
BADGER = Species(
    "Meles meles",
    _lineage("Mammalia", "Carnivora", "Mustelidae", "Meles"),
    _names("European badger", "blaireau européen", "tejón europeo", "texugo-europeu", "Dachs"),
    Shape(size=0.36, leg=0.17, leg_width=0.075, chest=0.38, rump=0.46, neck=0.17, neck_width=0.14, head=0.13,
          snout=0.27, snout_width=0.065, ear=0.06, ear_width=0.05, tail=0.22, tail_width=0.085, tail_drop=0.5,
          carriage=0.0),
    Coat((146, 142, 136), (60, 54, 50), (38, 34, 32), (238, 236, 230), (176, 172, 164), mask=(26, 24, 24)),
    night=0.7,
)  # fmt: skip
WOLF = Species(
    "Canis lupus",
    _lineage("Mammalia", "Carnivora", "Canidae", "Canis"),
    _names("gray wolf", "loup gris", "lobo gris", "lobo-cinzento", "Wolf"),
    Shape(size=0.62, leg=0.66, leg_width=0.060, chest=0.44, rump=0.36, neck=0.30, neck_width=0.17, head=0.165,
          snout=0.27, snout_width=0.075, ear=0.16, ear_width=0.075, tail=0.58, tail_width=0.10, tail_drop=1.15,
          carriage=0.30),
    Coat((128, 122, 112), (190, 182, 168), (160, 150, 134), (140, 132, 120), (112, 106, 98), pattern="patches",
         mark=(70, 66, 62), tail_tip=(46, 42, 40)),
    night=0.55,
)  # fmt: skip
RED_DEER = Species(
    "Cervus elaphus",
    _lineage("Mammalia", "Artiodactyla", "Cervidae", "Cervus"),
    _names("red deer", "cerf élaphe", "ciervo común", "veado-vermelho", "Rothirsch"),
    Shape(size=1.0, leg=0.74, leg_width=0.050, chest=0.54, rump=0.48, neck=0.52, neck_width=0.20, head=0.135,
          snout=0.25, snout_width=0.075, ear=0.17, ear_width=0.06, tail=0.12, tail_width=0.045, tail_drop=1.2,
          carriage=0.80, antlers=0.80),
    Coat((128, 82, 52), (150, 112, 80), (104, 72, 50), (124, 82, 56), (176, 140, 100), rump=(214, 184, 140),
         young=(206, 168, 124)),
    night=0.5,
)  # fmt: skip
LYNX = Species(
    "Lynx lynx",
    _lineage("Mammalia", "Carnivora", "Felidae", "Lynx"),
    _names("Eurasian lynx", "lynx boréal", "lince boreal", "lince-euroasiático", "Luchs"),
    Shape(size=0.52, leg=0.56, leg_width=0.078, chest=0.38, rump=0.42, neck=0.20, neck_width=0.16, head=0.185,
          snout=0.09, snout_width=0.10, ear=0.22, ear_width=0.075, tail=0.20, tail_width=0.065, tail_drop=0.3,
          carriage=0.45),
    Coat((186, 148, 104), (222, 206, 180), (190, 156, 114), (190, 154, 112), (170, 134, 94), pattern="spots",
         mark=(58, 42, 30), tail_tip=(30, 26, 24)),
    night=0.65,
)  # fmt: skip
WOOD_PIGEON = Species(
    "Columba palumbus",
    _lineage("Aves", "Columbiformes", "Columbidae", "Columba"),
    _names("wood pigeon", "pigeon ramier", "paloma torcaz", "pombo-torcaz", "Ringeltaube"),
    Shape(size=0.30, leg=0.17, leg_width=0.028, chest=0.50, rump=0.26, neck=0.26, neck_width=0.15, head=0.135,
          snout=0.11, snout_width=0.030, ear=0.0, ear_width=0.0, tail=0.52, tail_width=0.10, tail_drop=0.10,
          carriage=1.05, feet=2),
    Coat((126, 138, 158), (190, 160, 168), (206, 92, 92), (120, 134, 156), (84, 92, 108), pattern="stripes",
         mark=(76, 84, 100), mask=(240, 240, 240), tail_tip=(42, 46, 54)),
    night=0.3,
)  # fmt: skip

SPECIES = (ROE_DEER, RED_FOX, WILD_BOAR, BADGER, RED_DEER, WOLF, LYNX, WOOD_PIGEON)
"""In the order of how often they are seen."""
