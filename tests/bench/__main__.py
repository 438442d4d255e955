"""`python -m tests.bench [prepare|loader|step|decode|matchers ...]`: prints every comparison and the machine."""

import importlib
import sys

from tests.bench.frame import machine

NAMES = ("step", "loader", "prepare", "decode", "matchers")


def main(names: list[str]) -> int:
    unknown = sorted(set(names) - set(NAMES))
    if unknown:
        print(f"{unknown[0]}: no such benchmark; allowed: {', '.join(NAMES)}", file=sys.stderr)
        return 2
    print(machine())
    for name in names or NAMES:
        for comparison in importlib.import_module(f"tests.bench.{name}").comparisons():
            print("\n".join(comparison.lines()), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
