"""What a dataset is made of: archives, pixels, captions, split, privacy. Part of a run's identity."""

import difflib
import re
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from infra.storage import Linked, Store, Web, host_of, open_store
from pipelines.addresses import optional_address, read_address
from pipelines.prepare.by_place import PlaceSplit
from pipelines.prepare.by_time import TimeSplit
from pipelines.prepare.crops import CropSettings
from pipelines.prepare.language import available
from pipelines.prepare.published import PublishedSplit
from pipelines.prepare.thinning import ThinSettings
from pipelines.sources import OverlaySettings, SourceSettings
from xmodal.settings import Settings
from xmodal.transforms import PixelSettings

NAME = r"^[a-z0-9][a-z0-9_-]{0,62}$"


class SurveySettings(Settings):
    """One archive and how its metadata are read."""

    name: str = Field(pattern=NAME)
    """Name of the survey within the dataset: lower-case letters, digits, hyphens; samples keep it for ever."""
    archive: str
    """Directory or `s3://bucket/prefix` that holds images and metadata."""
    endpoint: str | None = None
    """S3 endpoint URL of the archive; without it AWS_ENDPOINT_URL, else AWS."""
    region: str | None = None
    """S3 region of the archive."""
    anonymous: bool = False
    """Whether requests go unsigned, as public archives ask."""
    requester_pays: bool = False
    """Whether we pay for the requests, as some S3 archives ask."""
    hosts: tuple[str, ...] = ()
    """Hosts (`host`, or `host:port` where that is not 443) from which `https://` addresses that the metadata name are
    fetched; from none by default. Hosts they redirect to must be listed too."""
    source: SourceSettings
    """Format of the metadata that name the media."""
    overlays: tuple[OverlaySettings, ...] = ()
    """Further observations on the same media (detector boxes), in the order they are laid over each other."""
    places_of: str | None = Field(default=None, pattern=NAME)
    """Survey whose names of places these are: the next season at the same cameras. A place of both is one place and
    goes to one split. Without it the survey's places are its own, as those of the survey named here must be."""

    @property
    def place_names(self) -> str:
        """The survey whose names of places these are."""
        return self.places_of or self.name

    def store(self) -> Store:
        """The archive's store."""
        store = open_store(
            read_address(f"archive of survey {self.name}", self.archive),
            endpoint=optional_address(f"endpoint of survey {self.name}", self.endpoint),
            region=self.region,
            anonymous=self.anonymous,
            requester_pays=self.requester_pays,
        )
        return Linked(store, Web(frozenset(self.hosts))) if self.hosts else store

    @field_validator("hosts")
    @classmethod
    def _plain_hosts(cls, hosts: tuple[str, ...]) -> tuple[str, ...]:
        for host in hosts:
            if not _is_host(host):
                raise ValueError(f"{host!r} is no host; give a name as in https://name/, without scheme or path")
        return hosts


def _is_host(text: str) -> bool:
    try:
        return re.fullmatch(r"[a-z0-9.-]+(:\d+)?", text) is not None and host_of(f"https://{text}") == text
    except ValueError:
        return False


Said = Literal["count", "stage", "sex", "behavior", "light", "infrared"]


class CaptionSettings(Settings):
    """Texts generated from recorded facts; sets that bring captions keep their own."""

    languages: tuple[str, ...] = Field(default=("eng",), min_length=1)
    """Languages of the texts (ISO 639-3: eng, fra, spa, por, deu). Each image gets all its texts in each of them; where
    the archive states no name in a language, the scientific one stands there."""
    seed: int = 0
    """Seed of the drawn surface forms."""
    says: tuple[Said, ...] = ("count", "stage", "sex", "behavior", "light", "infrared")
    """What texts may say of an animal beside its name, where it is recorded. Leave out what cannot be seen in these
    images: a text that tells apart what looks alike teaches to tell single images apart."""
    blank_share: float = Field(default=0.5, ge=0, le=1)
    """Share of the train split's blank frames that are used, by a hash: most frames of many archives are blank."""

    @field_validator("languages")
    @classmethod
    def _written(cls, languages: tuple[str, ...]) -> tuple[str, ...]:
        if twice := sorted({code for code in languages if languages.count(code) > 1}):
            raise ValueError(f"{twice[0]} is named twice")
        for code in languages:
            if code not in available():
                near = difflib.get_close_matches(code, available(), n=1)
                hint = f"; did you mean {near[0]}?" if near else ""
                raise ValueError(f"{code!r} is no language of captions; allowed: {', '.join(available())}{hint}")
        return languages


SplitSettings = Annotated[PlaceSplit | TimeSplit | PublishedSplit, Field(discriminator="kind")]


class PrivacySettings(Settings):
    """What may enter the dataset although it is out by default. What is out is never read."""

    people: bool = False
    """Frames labelled human, or with a detector's box of a person."""
    vehicles: bool = False
    """Frames labelled vehicle, or with a detector's box of one."""
    non_public: bool = False
    """Media that the archive marks as not public."""


class DataSettings(Settings):
    """A dataset."""

    name: str = Field(pattern=NAME)
    """Name of the dataset below the storage root."""
    surveys: list[SurveySettings] = Field(min_length=1)
    """Its archives."""
    pixels: PixelSettings = PixelSettings()
    """Size and quality of the stored images."""
    captions: CaptionSettings = CaptionSettings()
    """Generated texts."""
    crops: CropSettings | None = None
    """Crops around the animals that a detector (or a label with a box) found, in place of the frames they stand in; a
    frame without such a box stays whole. Without it every frame stays whole."""
    thin: ThinSettings | None = None
    """Training frames that look like another one of their event are left out; without it none."""
    split: SplitSettings = PlaceSplit(kind="place")
    """Which rows train, validate and test."""
    privacy: PrivacySettings = PrivacySettings()
    """What is let in although it is withheld by default."""
    detector_threshold: float = Field(default=0.2, ge=0, le=1)
    """Confidence from which a detector's box counts: of a person or vehicle to withhold a frame, of an animal to let a
    label of the whole event reach it."""
    event_labels: Literal["with_box", "always"] = "with_box"
    """Which frames a label of a whole event reaches where no detector ran: none (with_box), or all (always). Where one
    ran, those with an animal box."""
    event_gap: float = Field(default=60.0, ge=0)
    """Seconds between two frames of a camera above which a new event begins, for frames without an event of the
    archive's own: 60 keeps bursts together; 1800 to 3600 are the usual "independent events" of ecology. Files that an
    earlier version held keep their events until `split` changes."""
    vocabulary_size: int = Field(default=8000, ge=16)
    """Most pieces of the WordPiece vocabulary trained on the train split's captions."""
    max_bad_share: float = Field(default=0.05, ge=0, le=1)
    """Largest share of unreadable or missing files, of one survey, with which a version is still made."""
    generated: bool = False
    """Whether the images were drawn by a program: reports then say that figures tell nothing about nature."""
    version: int | None = Field(default=None, ge=1)
    """Version that train and evaluate use; without it the newest. Prepare always makes the newest."""

    @field_validator("surveys")
    @classmethod
    def _unique(cls, surveys: list[SurveySettings]) -> list[SurveySettings]:
        names = [survey.name for survey in surveys]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two surveys are named {twice[0]}")
        return surveys

    @model_validator(mode="after")
    def _named_surveys(self) -> "DataSettings":
        names = [survey.name for survey in self.surveys]
        own = [survey.name for survey in self.surveys if survey.places_of is None]
        asked = [(name, "split", names) for name in sorted(self.split.surveys())]
        asked += [(one.places_of, "places_of", own) for one in self.surveys if one.places_of is not None]
        for name, setting, allowed in asked:
            if name not in allowed:
                near = difflib.get_close_matches(name, allowed, n=1)
                hint = f"did you mean {near[0]}?" if near else f"allowed: {', '.join(allowed)}"
                raise ValueError(f"{setting} names the survey {name!r}; {hint}")
        return self
