"""How much is left to people, in words: frames, looks at them, and hours at a pace that is stated and not measured."""

from pipelines.predictions.trust import Measured, Share


def hours(looks: float, seconds: float) -> float:
    return looks * seconds / 3600


def percent(share: Share) -> str:
    """With its interval."""
    if (around := share.interval) is None:
        return f"{100 * share.value:.1f} % (no interval: one place)"
    return f"{100 * share.value:.1f} % ({100 * around.low:.1f} to {100 * around.high:.1f})"


def measured(tested: Measured, precision: str) -> str:
    """What thresholds give at unseen places."""
    right = f", of which {percent(tested.right)} are right" if tested.right else ""
    where = f"at {tested.places:,} unseen places of the test split ({tested.frames:,} frames)"
    aim = f"at thresholds for {100 * float(precision):g} % precision"
    return f"{aim}, {where}, {percent(tested.answered)} can be accepted unseen{right}"


def expected(tested: Measured, frames: int, seconds: float) -> str:
    """What that leaves of some frames that nobody has labelled, if they are like those of the test split."""
    answered, looks = tested.answered, tested.looks
    left = f"{frames * (1 - answered.value):,.0f}"
    if (around := answered.interval) is not None:
        left += f" ({frames * (1 - around.high):,.0f} to {frames * (1 - around.low):,.0f})"
    work = f"{hours(frames * looks.value, seconds):,.1f}"
    if (around := looks.interval) is not None:
        work += f" ({hours(frames * around.low, seconds):,.1f} to {hours(frames * around.high, seconds):,.1f})"
    return f"{left} remain in some {frames * looks.value:,.0f} looks: about {work} hours at {seconds:g} s a look"
