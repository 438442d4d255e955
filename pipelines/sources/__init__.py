"""Archive formats. A source yields the media of a survey and what is known of them; an overlay adds to another's media.

To add a format: one file with a settings class (its own `kind`, and `read`), and its name in the union below.
"""

from typing import Annotated

from pydantic import Field

from pipelines.sources.camtrap_dp import CamtrapDP
from pipelines.sources.captioned import Captioned
from pipelines.sources.coco_camera_traps import CocoCameraTraps
from pipelines.sources.corrections import Corrections
from pipelines.sources.folders import Folders
from pipelines.sources.inaturalist import INaturalist
from pipelines.sources.megadetector import MegaDetector
from pipelines.sources.precomp import Precomp
from pipelines.sources.speciesnet import SpeciesNet
from pipelines.sources.takedown import Takedown
from pipelines.sources.wildlife_insights import WildlifeInsights

SourceSettings = Annotated[
    CocoCameraTraps | CamtrapDP | WildlifeInsights | INaturalist | Folders | Captioned | Precomp,
    Field(discriminator="kind"),
]
"""`read(store) -> Survey`."""

OverlaySettings = Annotated[MegaDetector | SpeciesNet | Corrections | Takedown, Field(discriminator="kind")]
"""`read(store, survey) -> Survey`."""
