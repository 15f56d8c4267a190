"""python -m tests.trainers.drivers DRIVER CHECKOUT [ARGUMENT ...]: one driver, its result as JSON.

The checkout comes first on the path of this process and of those that it starts, but only once
`tests` is this repository's: some trainers have a package of that name.
"""

from __future__ import annotations

import importlib
import json
import os
import sys

from tests.trainers.driving import NO_CHECKOUT


def main() -> None:
    driver, checkout, *arguments = sys.argv[1:]
    if checkout != NO_CHECKOUT:
        sys.path.insert(0, checkout)
        os.environ["PYTHONPATH"] = os.pathsep.join([checkout, os.environ["PYTHONPATH"]])
    # A trainer that reads the command line must not read this one.
    sys.argv[1:] = []
    result = importlib.import_module(f"tests.trainers.drivers.{driver}").main(arguments)
    print(f"\n{json.dumps(result)}", flush=True)


if __name__ == "__main__":
    main()
