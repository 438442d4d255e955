"""Ledger reasons, clock flags and split reasons in the words of people who keep an archive, each with what to do."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Words:
    """What a name means, and what to do about it; empty = nothing."""

    meaning: str
    remedy: str = ""


_COPY_AGAIN = "Copy these files again from the card or the backup."
_DELETE = "Not an image: it can be left where it is, or deleted."
_RIGHTS = "Give the account that runs xmodal the right to read them; every run tries again."
_LINKS = "Replace the links by the files, or remove them."
_REPACK = "Pack the container again with another program."

REASONS = {
    "withheld": Words("withheld: people, vehicles, or media marked as not public"),
    "taken_down": Words("named on a takedown list"),
    "metadata": Words("the metadata themselves"),
    "missing": Words("named by the metadata, but not in the archive", "Upload them, or correct the paths."),
    "not_image": Words("not an image", _DELETE),
    "empty": Words("no bytes", _COPY_AGAIN),
    "truncated": Words("cut off: half an image", _COPY_AGAIN),
    "decode_error": Words("damaged: cannot be decoded", _COPY_AGAIN),
    "corrupt": Words("damaged, as the archive itself says", _COPY_AGAIN),
    "too_large": Words("more bytes or pixels than are read", "Raise data.pixels.max_megabytes or max_megapixels."),
    "too_small": Words("smaller than any camera’s frame", "Lower data.pixels.min_side if they are frames after all."),
    "unsupported_mode": Words("pixels of a kind that no camera writes", "Save them again as JPEG."),
    "unreadable": Words("may not be read", _RIGHTS),
    "unreadable_folder": Words("a folder that may not be entered", _RIGHTS),
    "dangling_link": Words("a link that leads nowhere", _LINKS),
    "link_loop": Words("links in a circle", _LINKS),
    "not_regular": Words("a pipe, socket or device", _DELETE),
    "member_encrypted": Words("encrypted in its zip", _REPACK),
    "member_method": Words("packed in its zip in a way that is not read", _REPACK),
    "member_damaged": Words("damaged in its container", _COPY_AGAIN),
    "host_not_allowed": Words("at a host that the recipe does not allow", "Add the host to the survey’s hosts."),
    "unreachable": Words("at a host that does not answer", "Run again; the next listing asks again."),
    "unlabelled": Words("no label says what they show", "Label them, or add SpeciesNet’s results as an overlay."),
    "no_caption": Words("their labels name nothing a text could say", "Label them, or add a corrections overlay."),
    "event_label_without_box": Words("labelled by their event alone, and the detector found no animal in them"),
    "event_label_without_detector": Words(
        "labelled by their event alone, and no detector ran on them", "Add MegaDetector’s results as an overlay."
    ),
    "near_duplicate": Words("look like another training frame of their event (data.thin)"),
    "blank_beyond_share": Words("empty training frames beyond captions.blank_share"),
    "cross_split_duplicate": Words("the same bytes, event or day stand in another split"),
    "untrusted_clock": Words("their clock cannot tell on which side of the cut they are", "Correct the clocks."),
    "no_published_split": Words("the published split does not name them"),
}

FLAGS = {
    "no_time": Words("no time is written", "Add the times to the metadata, from EXIF if it has them."),
    "unreadable_time": Words("what is written is no time", "Correct the column of times."),
    "year_out_of_range": Words("a year that cannot be: a clock never set", "Shift the camera’s times in the metadata."),
    "default_date": Words("the date that clocks start with", "Shift the camera’s times in the metadata."),
    "ran_from_default": Words("taken after the clock fell back to its first date", "Shift these times."),
    "date_only": Words("a date without a time of day", "Take the times from EXIF; dates remain usable."),
    "outside_deployment": Words("before its deployment’s start or after its end", "Compare both with the field notes."),
    "camera_outside_deployment": Words(
        "most files of the camera lie outside its deployment", "A wrong year, or another deployment’s card: check."
    ),
    "clock_doubted": Words("the archive itself doubts the clock", "Correct the times and clear timestampIssues."),
    "stray_time": Words("an hour or more away from the files before and after", "Check these files."),
    "goes_back": Words(
        "the clock was set back by more than an hour", "Find out which part is right and shift the rest."
    ),
    "hour_back": Words("set back by an hour at most, as at the end of summer time"),
    "same_times": Words("the times of a camera elsewhere, to the second", "Cards or tables were mixed up: check both."),
    "light_disagrees": Words("infrared at noon and not at midnight", "The clock is turned by hours: shift it."),
}


def reason(name: str) -> Words:
    """Of a ledger or split reason; one without words of its own is told as it is written."""
    return REASONS.get(name, Words(name.replace("_", " ")))


def flag(name: str) -> Words:
    """Of a clock flag."""
    return FLAGS.get(name, Words(name.replace("_", " ")))
