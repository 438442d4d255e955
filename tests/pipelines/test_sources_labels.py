"""What labels mean: people and vehicles in many words, animals whose names hold such words, ranks of written names."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from infra.storage import Store, open_store
from pipelines.dataset import Dataset
from pipelines.prepare.settings import DataSettings
from pipelines.sources import CocoCameraTraps, label_words
from pipelines.sources.inaturalist import category_columns
from pipelines.sources.labels import as_compared, observation_type, plain, scientific, taxon
from pipelines.sources.speciesnet_classes import read_class
from tests.pipelines.surveys import coco_settings, prepare, write_coco
from tests.pipelines.test_sources_signs import kept_out
from xmodal.settings import SettingsError, parse

MEANT = {
    "human": """
        human, Humans, PERSON, person 2, person2, 3 people, people on foot, human/vehicle, human_walker, Human; dog,
        human-camera trapper, Homo, Homo sapiens, homo_sapiens, Homo sapiens sapiens, Homo sp., Homo cf. sapiens,
        H. sapiens, Homo sapiens Linnaeus (1758), woman, men, old man, child, poacher, tourist, ranger,
        park ranger on patrol, hunter, livestock herder, horse rider, motorbike rider, researcher 1, Setup/Pickup,
        camera set-up, start, persona, Personas a pie, humano, hombre con perro, cazador, mujer, NIÑO, pessoa,
        Pessoas, homem, caçador, criança, personne, des personnes, femme, pêcheur, PECHEUR, piéton, randonneurs,
        Mensch, Menschen, Fußgänger, Fussganger, FUSSGÄNGER, Spaziergaenger, Jäger, Kinder
    """,
    "vehicle": """
        vehicle, motorised vehicle, vehicles (2), car, red car, pickup truck, pickup, truck/trailer, tractor, jeep,
        quad, quad bike, ATV, 4x4, van, bicycle, mountain-bike, boat, vehículo, vehiculo, camión, moto, coche,
        veículo, carro, caminhão, ônibus, véhicule, voiture blanche, vélo, tracteur, Fahrzeug, Motorrad, LKW
    """,
    "blank": """
        empty, Blank, none, ghost, misfire, nothinghere, nothing_here, No Animal, no-animals, false_positive, vacío,
        Vacia, sin animales, vazio, nada, vide, VIDE, pas d'animal, pas d’animal, leer, Leerbild, kein Tier,
        Fehlauslösung
    """,
    "unknown": """
        unknown, Unidentified, unclassifiable, other, unknown animal, lens obscured, foggy lens, desconocido,
        não identificado, inconnu, indéterminé, unbekannt, ???, -
    """,
    "unclassified": """
        unclassified, not classified, no image, No CV Result, NULL, n/a, sin clasificar, non classé
    """,
    "animal": """
        animal, Vulpes vulpes, red fox, manatee, human's best friend, Hunter's hartebeest, Hunter’s hartebeest,
        bushman's hare, bee hunter, hunting dog, African hunting dog, sea lion, mandrill, Mannikin, ghost bat,
        ghost crab, Shaka ranger, German shepherd, pastor alemán, berger allemand, Dutch shepherd, walker hound,
        army ant, soldier ant, worker ant, runner duck, martín pescador, martin-pêcheur, boat-billed heron,
        boat-tailed grackle, caracal, caribou, carnivore, bushbuck, busardo, vanellus, Van Gelder's bat, motmot,
        trainbearer, European roller, drone fly, helicopter damselfly, motorbike frog, bicycle lizard,
        police car moth, man-o'-war, Portuguese man of war, unknown deer, unidentified bird, other bird,
        empty-nest gull, no-see-um, vacuna, leereule, Hominidae, Pan paniscus, Pastor roseus, Leptosia nina,
        coche de monte, tordo vaquero, jaeger, parasitic jaeger, sun bear, fire ant, quadricolor, blank-faced owl,
        nothing-wing, 12, class 7, 狐狸
    """,
}
"""Type to labels."""


@pytest.mark.parametrize(("kind", "label"), [(kind, one.strip()) for kind in MEANT for one in MEANT[kind].split(",")])
def test_what_a_label_means(kind: str, label: str) -> None:
    assert observation_type(label) == kind


@pytest.mark.data
def test_no_name_of_an_animal_that_people_photograph_means_a_person(data_dir: Path) -> None:
    """The species of iNaturalist 2018, by scientific and English names."""
    rows = [row.split(",") for row in (data_dir / "inaturalist2018" / "categories.csv").read_text().splitlines()[1:]]
    names = {name for row in rows if row[2] == "Animalia" for name in (row[1], row[-2])}
    assert len(names) > 8_000
    assert [name for name in sorted(names) if name and observation_type(name) != "animal"] == []


def test_a_person_is_one_beside_whatever_else_a_row_says() -> None:
    assert observation_type("empty", "Homo sapiens") == "human"
    assert observation_type("blank", "Vulpes vulpes") == "blank"
    assert observation_type("car", "persona") == "human"
    assert observation_type(None, "") == observation_type() == "animal"


def test_no_word_stands_for_two_things_and_runs_have_at_most_two_words() -> None:
    lists = {name: words for name, words in vars(label_words).items() if name.isupper()}
    seen: dict[str, str] = {}
    for name, words in lists.items():
        for entry in {plain(one) for one in words.split(",")}:
            assert entry and seen.setdefault(entry, name) == name, f"{entry!r} of {name} and {seen[entry]}"
            assert len(entry.split()) < 3 or not name.endswith("_WITHIN"), entry


def test_what_an_archive_says_of_its_words_comes_first() -> None:
    types = as_compared({"Mtu_Mzima": "human", "Hunter": "animal", "2": "vehicle", "kati": "blank"})
    labels = {
        "mtu-mzima": "human",
        "MTU MZIMA": "human",
        "hunter": "animal",
        "2": "vehicle",
        "Kati": "blank",
        "mtu": "animal",
    }
    assert {label: observation_type(label, types=types) for label in labels} == labels
    assert observation_type("hunter", "Homo sapiens", types=types) == "human", "of another label"


SOURCES = {
    "coco_camera_traps": ("source", {"metadata": "m.json"}),
    "folders": ("source", {}),
    "corrections": ("overlays.0", {"path": "c.csv"}),
}


@pytest.mark.parametrize("kind", SOURCES)
@pytest.mark.parametrize(
    ("types", "told"),
    [
        (
            {"mtu": "people"},
            "types.mtu: input should be 'animal', 'human', 'vehicle', 'blank', 'unknown' or 'unclassified'",
        ),
        ({"mtu": "human", "MTU": "animal"}, "types: 'MTU' is animal and, in another spelling, human"),
        ({"__": "blank"}, "types: '__' has no letter or digit by which a label could be known"),
    ],
)
def test_a_type_that_is_none_is_one_line(kind: str, types: dict[str, str], told: str) -> None:
    place, settings = SOURCES[kind]
    one = {"kind": kind, "types": types, **settings}
    fox = {"kind": "coco_camera_traps", "metadata": "m.json"}
    survey = {"name": "a", "archive": "b", "source": one if place == "source" else fox}
    survey |= {} if place == "source" else {"overlays": [one]}
    with pytest.raises(SettingsError) as refused:
        parse(DataSettings, {"name": "a", "surveys": [survey]})
    assert str(refused.value).startswith(f"surveys.0.{place}.{told}") and "\n" not in str(refused.value)


def test_folders_that_are_captions_have_no_types() -> None:
    source = {"kind": "folders", "captions": "a {label}", "types": {"mtu": "human"}}
    with pytest.raises(SettingsError, match="with `captions` no folder's name is looked up, so `types` says nothing"):
        parse(DataSettings, {"name": "a", "surveys": [{"name": "a", "archive": "b", "source": source}]})


@pytest.mark.parametrize("name", ["Homo sapiens", "Homo sapiens sapiens", "Homo neanderthalensis"])
@pytest.mark.parametrize("kingdom", ["Animalia", None])
def test_the_genus_homo_of_inaturalist(name: str, kingdom: str | None) -> None:
    assert category_columns(name, {"kingdom": kingdom})["type"] == "human"


@pytest.mark.parametrize(
    ("written", "kind"),
    [
        ("u;mammalia;primates;hominidae;homo;;", "human"),
        ("u;mammalia;primates;hominidae;homo;sapiens;human", "human"),
        ("u;mammalia;primates;hominidae;homo;sapiens sapiens;", "human"),
        ("u;mammalia;primates;hominidae;;;hominidae family", "animal"),
        ("u;aves;passeriformes;sturnidae;pastor;roseus;rosy starling", "animal"),
        ("u;;;;;;person", "human"),
    ],
)
def test_the_genus_homo_of_speciesnet(written: str, kind: str) -> None:
    found = read_class(written)
    assert found is not None and found.type == kind


SPECIES, SUBSPECIES = ("Vulpes vulpes", "species"), ("Vulpes vulpes fulva", "subspecies")


@pytest.mark.parametrize(
    ("written", "free", "column"),
    [
        ("Vulpes vulpes (Linnaeus, 1758)", SPECIES, SPECIES),
        ("Vulpes vulpes Linnaeus, 1758", SPECIES, SPECIES),
        ("Vulpes vulpes (Linnaeus 1758)", SPECIES, SPECIES),
        ("Vulpes  vulpes [Linnaeus, 1758]", SPECIES, SPECIES),
        ("Vulpes vulpes É. Geoffroy Saint-Hilaire & de la Cuvier, 1795", SPECIES, SPECIES),
        ("Vulpes vulpes fulva (Desmarest, 1820)", SUBSPECIES, SUBSPECIES),
        ("Vulpes vulpes ssp. fulva", SUBSPECIES, SUBSPECIES),
        ("Vulpes vulpes subsp. fulva (Desmarest, 1820)", SUBSPECIES, SUBSPECIES),
        ("Vulpes vulpes var. fulva", SUBSPECIES, SUBSPECIES),
        ("Vulpes vulpes ssp.", SPECIES, SPECIES),
        ("Felis margarita de Winton, 1898", ("Felis margarita", "species"), ("Felis margarita", "species")),
        ("Vulpes vulpes L.", ("Vulpes vulpes L.", None), SPECIES),
        ("Vulpes vulpes (Linnaeus)", ("Vulpes vulpes (Linnaeus)", None), SPECIES),
        ("vulpes vulpes", ("vulpes vulpes", None), SPECIES),
        ("VULPES VULPES", ("VULPES VULPES", None), SPECIES),
        ("vulpes", ("vulpes", None), ("vulpes", None)),
        ("Red fox (adult)", ("Red fox (adult)", None), ("Red fox (adult)", None)),
        ("Red Fox 2019", ("Red Fox 2019", None), ("Red Fox 2019", None)),
        ("Red fox Spring 2019", ("Red fox Spring 2019", None), ("Red fox", "species")),
        ("Vulpes vulpes x Vulpes lagopus", ("Vulpes vulpes x Vulpes lagopus", None),
         ("Vulpes vulpes x Vulpes lagopus", None)),
        ("Panthera leo or Panthera pardus", ("Panthera leo or Panthera pardus", None),
         ("Panthera leo or Panthera pardus", None)),
        ("Salix ×fragilis", ("Salix ×fragilis", None), ("Salix ×fragilis", None)),
        ("Vulpes cf. vulpes", ("Vulpes", "genus"), ("Vulpes", "genus")),
        ("Canidae", ("Canidae", "family"), ("Canidae", "family")),
        (" ", (None, None), (None, None)),
    ],
)  # fmt: skip
def test_one_taxon_has_one_name(written: str, free: Any, column: Any) -> None:
    """In free text, and in a column of scientific names."""
    assert (taxon(written), scientific(written)) == (free, column)


HIGHER = {
    "phylum": "Mollusca Annelida Chordata",
    "class": "Mammalia Gastropoda Chondrichthyes Clitellata",
    "order": "Monotremata Tubulidentata Sirenia Dermoptera Crocodylia Odonata Hemiptera Scorpiones Galliformes Cetacea",
    "suborder": "Serpentes Ruminantia Strepsirrhini",
    "family": "Felidae Muridae",
    "subfamily": "Bovinae",
    "tribe": "Canini",
    "genus": "Panthera Emydoidea Chelonia Ensifera",
}


@pytest.mark.parametrize(("rank", "name"), [(rank, name) for rank, names in HIGHER.items() for name in names.split()])
def test_one_word_has_its_true_rank(rank: str, name: str) -> None:
    assert taxon(name) == scientific(name) == (name, rank)


def test_no_rank_of_the_8142_species_is_taken_for_another(data_dir: Path) -> None:
    with (data_dir / "inaturalist2018" / "categories.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for rank in ("kingdom", "phylum", "class", "order", "family", "genus"):
        names = {row[rank] for row in rows} - {"", "NA", "Not assigned"}
        other = {name for name in names if taxon(name)[1] != rank}
        assert other == ({"Proboscidea", "Leptostales"} if rank == "genus" else set())  # an order; ends like one


LABELS = ("Vulpes vulpes", "persona", "poacher", "Homo sapiens sapiens", "nothinghere", "mtu", "kati")


def made(archive: Store, root: Store, **source: Any) -> Dataset:
    """Of 42 frames at 6 places, six of each label."""
    images = [
        {"id": f"i{n}", "file_name": f"{n}.jpg", "location": str(n % 6), "category": 1 + n // 6} for n in range(42)
    ]
    write_coco(archive, images, {f"{n}.jpg": jpeg(n) for n in range(42)}, LABELS)
    settings = {"kind": "coco_camera_traps", "metadata": "metadata.json", **source}
    survey = {"name": "coco", "archive": archive.url, "source": settings}
    return prepare(coco_settings(archive.url, surveys=[survey]), root)


def jpeg(number: int) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (16, 16), (number * 6, 99, 250 - number * 6)).save(stream, "JPEG")
    return stream.getvalue()


def shown(dataset: Dataset) -> dict[str, set[str]]:
    """Label to the first texts of its frames; withheld frames have the reason in their place."""
    texts = {row["media_id"]: json.loads(row["captions"])[0]["text"] for row in dataset.records().to_pylist()}
    reasons = {row["media_id"]: row["reason"] for row in dataset.ledger().to_pylist()}
    found: dict[str, set[str]] = {}
    for number in range(42):
        name = f"i{number}"
        found.setdefault(LABELS[number // 6], set()).add(texts[name] if name in texts else reasons[name])
    return found


def test_people_in_other_words_are_withheld(tmp_path: Path, root: Store) -> None:
    archive = open_store(str(tmp_path / "archive"))
    first = shown(made(archive, root))
    assert first == {
        "Vulpes vulpes": {"a camera-trap image of Vulpes vulpes"},
        "persona": {"withheld"},
        "poacher": {"withheld"},
        "Homo sapiens sapiens": {"withheld"},
        "nothinghere": {"an empty camera-trap image"},
        "mtu": {"a camera-trap image of a mtu"},
        "kati": {"a camera-trap image of a kati"},
    }
    source = CocoCameraTraps(kind="coco_camera_traps", metadata="metadata.json")
    assert kept_out(source.read(archive)) == {f"{n}.jpg": "human" for n in range(6, 24)}
    second = made(archive, root, types={"Mtu": "human", "KATI": "blank", "poacher": "vehicle"})
    assert second.version == 2
    told = {"mtu": {"withheld"}, "kati": {"an empty camera-trap image"}}
    assert shown(second) == first | told
