"""What all enhancers can be told."""

from xmodal.settings import Settings


class EnhanceSettings(Settings):
    """One step of a tower's list."""

    def after(self, width: int) -> int:
        """Width of the tokens it gives, of tokens `width` wide."""
        return width
