"""What a dataset is made of: archives, pixels, captions, split, privacy. Part of a run's identity."""

import re
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from infra.storage import Linked, Store, Web, host_of, open_store
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

    def store(self) -> Store:
        """The archive's store."""
        store = open_store(
            self.archive,
            endpoint=self.endpoint,
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

    seed: int = 0
    """Seed of the drawn surface forms."""
    says: tuple[Said, ...] = ("count", "stage", "sex", "behavior", "light", "infrared")
    """What texts may say of an animal beside its name, where it is recorded. Leave out what cannot be seen in these
    images: a text that tells apart what looks alike teaches to tell single images apart."""
    blank_share: float = Field(default=0.5, ge=0, le=1)
    """Share of the train split's blank frames that are used, by a hash: most frames of many archives are blank."""


class PlaceSplit(Settings):
    """Whole places go to one split each, by a hash: a place never moves when a survey is added."""

    kind: Literal["place"]
    val: float = Field(default=0.15, gt=0, lt=1)
    """Share of the places that validate."""
    test: float = Field(default=0.15, ge=0, lt=1)
    """Share of the places that test."""
    seed: int = 0
    """Seed of the hash."""
    held_out: tuple[str, ...] = ()
    """Places, as the metadata name them, that test whatever the hash says: `test: 0` and one of them is a fold of
    leave-one-place-out."""

    @model_validator(mode="after")
    def _leaves_train(self) -> "PlaceSplit":
        if self.val + self.test >= 1:
            raise ValueError(f"val {self.val} and test {self.test} leave no place to train on")
        return self


class PublishedSplit(Settings):
    """The split that the set was published with."""

    kind: Literal["published"]


SplitSettings = Annotated[PlaceSplit | PublishedSplit, Field(discriminator="kind")]


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
    split: SplitSettings = PlaceSplit(kind="place")
    """Which rows train, validate and test."""
    privacy: PrivacySettings = PrivacySettings()
    """What is let in although it is withheld by default."""
    detector_threshold: float = Field(default=0.2, ge=0, le=1)
    """Confidence from which a detector's box counts: of a person or vehicle to withhold a frame, of an animal to let a
    label of the whole event reach it."""
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
