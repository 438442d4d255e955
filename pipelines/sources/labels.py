"""What a free label is about, and the rank of a scientific name: the vocabularies of public camera-trap sets."""

import re

BLANK = {"empty", "blank", "none", "misfire", "nothing", "no animal", "false trigger", "ghost"}
HUMAN = {"human", "humans", "person", "persons", "people", "homo sapiens", "homo", "man", "hunter", "hiker", "cyclist",
         "bicyclist", "researcher", "staff", "setup", "set up", "human setup"}  # fmt: skip
VEHICLE = {"vehicle", "vehicles", "car", "truck", "motorcycle", "motorbike", "atv", "quad", "bicycle", "boat", "bus"}
UNKNOWN = {"unknown", "unidentified", "unidentifiable", "unknown animal", "other", "cv failed"}
UNCLASSIFIED = {"unclassified", "unlabeled", "unlabelled", "not classified", "no cv result", "problem"}
BAD = {"#ref!", "#n/a", "#name?", "#value!"}
"""Spreadsheet errors that were exported as labels."""

RANKS = ("kingdom", "phylum", "class", "order", "family", "subfamily", "tribe", "genus", "species", "subspecies")
"""From the highest to the lowest."""

_CLASSES = {"aves", "mammalia", "reptilia", "amphibia", "insecta", "arachnida", "actinopterygii", "malacostraca"}
_ORDERS = {"rodentia", "carnivora", "artiodactyla", "cetartiodactyla", "perissodactyla", "lagomorpha", "primates",
           "chiroptera", "eulipotyphla", "soricomorpha", "erinaceomorpha", "didelphimorphia", "pilosa", "cingulata",
           "proboscidea", "hyracoidea", "pholidota", "diprotodontia", "dasyuromorphia", "peramelemorphia", "squamata",
           "testudines", "crocodylia", "crocodilia", "anura", "caudata", "lepidoptera", "coleoptera", "hymenoptera",
           "diptera", "orthoptera", "araneae", "afrosoricida", "macroscelidea", "scandentia"}  # fmt: skip
_HIGHER = {"animalia": "kingdom", "chordata": "phylum", "arthropoda": "phylum"}
_ENDINGS = (("iformes", "order"), ("idae", "family"), ("inae", "subfamily"))


def observation_type(*labels: str | None) -> str:
    """animal | human | vehicle | blank | unknown | unclassified, from a row's label and scientific name.

    Whatever no vocabulary holds is an animal's name; "animal" itself is an animal that nobody has named. More words
    than the vocabulary's: "human-camera trapper" is a human, "motorised vehicle" a vehicle.
    """
    words = {re.sub(r"[\s_-]+", " ", label).strip().lower() for label in labels if label}
    words |= {"human" for word in words if word.startswith("human ")}
    words |= {"vehicle" for word in words if word.endswith(" vehicle")}
    for name, vocabulary in _TYPES:
        if words & vocabulary:
            return name
    return "animal"


_TYPES = (
    ("human", HUMAN),
    ("vehicle", VEHICLE),
    ("blank", BLANK),
    ("unclassified", UNCLASSIFIED),
    ("unknown", UNKNOWN),
)


def taxon(written: str | None) -> tuple[str | None, str | None]:
    """Scientific name without open nomenclature (`Canis sp.` is the genus Canis), and its rank where the name shows it.

    Two words are a species, three a subspecies. One word is told by its ending (zoological code: -idae family, -inae
    subfamily; -iformes order) or by a list of classes and orders, else it is a genus. A name that does not begin with
    one capitalised word has no rank.
    """
    if not written:
        return None, None
    name = re.sub(r"\s+(spp?\.?|cf\.?|aff\.?|indet\.?)(\s.*)?$", "", " ".join(written.split()))
    words = name.split()
    if not re.fullmatch(r"[A-Z][a-z-]+", words[0]):
        return name, None
    if len(words) > 1:
        binomial = all(re.fullmatch(r"[a-z-]+", word) for word in words[1:])
        return name, {2: "species", 3: "subspecies"}.get(len(words)) if binomial else None
    return name, _single_word_rank(name.lower())


def _single_word_rank(word: str) -> str:
    if word in _HIGHER:
        return _HIGHER[word]
    if word in _CLASSES:
        return "class"
    if word in _ORDERS:
        return "order"
    return next((rank for ending, rank in _ENDINGS if word.endswith(ending)), "genus")
