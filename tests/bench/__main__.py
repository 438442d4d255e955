"""`python -m tests.bench [NAME ...]`: comparisons, and the machine."""

import importlib
import sys

from tests.bench.frame import show

NAMES = ("step", "loader", "feeding", "prepare", "decode", "matchers", "retrieval_speed", "predict", "page")


def main(names: list[str]) -> int:
    unknown = sorted(set(names) - set(NAMES))
    if unknown:
        print(f"{unknown[0]}: no such benchmark; allowed: {', '.join(NAMES)}", file=sys.stderr)
        return 2
    benches = (importlib.import_module(f"tests.bench.{name}") for name in names or NAMES)
    show(comparison for bench in benches for comparison in bench.comparisons())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
