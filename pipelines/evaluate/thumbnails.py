"""Images of the evaluated split as the page shows them."""

from pipelines.evaluate.subject import Subject
from pipelines.report.content import Picture
from pipelines.train.order import GROUP_ROWS


def picture(subject: Subject, image: int) -> Picture:
    """Image number `image` of the gallery, from its pixel part."""
    item, row = int(subject.rows.item[image]), int(subject.rows.row[image])
    columns = ["image", "width", "height"]
    stored = (
        subject.dataset.read_group(item, row // GROUP_ROWS, "pixels", columns).slice(row % GROUP_ROWS, 1).to_pylist()[0]
    )
    return Picture(stored["image"], subject.truth(image), stored["width"], stored["height"])
