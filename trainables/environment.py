"""Says in one line that a script was started outside its environment. Must be read by any Python 3."""

import importlib.util
import sys
from pathlib import Path

LEAST = (3, 11)
NEEDED = "torch torchvision ray numpy pandas pyarrow jinja2 matplotlib sklearn scipy PIL rich optuna yaml"
"""What the program depends on, by the names to import."""
BAD_INPUT = 2


def check_environment(script: str) -> None:
    """End with status 2 where this Python is too old or lacks what the program needs. script: the file started."""
    root = Path(script).resolve().parents[1]
    missing = [name for name in NEEDED.split() if importlib.util.find_spec(name) is None]
    if sys.version_info < LEAST:
        what = "is version {}.{}, and {}.{} is the least".format(*sys.version_info[:2], *LEAST)
    elif missing:
        what = "has no {}".format(", ".join(missing))
    else:
        return
    activate = root / ".venv" / "bin" / "activate"
    way = f"`source {activate}`"
    if not activate.exists():
        way = f"`make demo` in {root} makes one, `source {activate}` enters it"
    sys.stderr.write(
        "error: this Python ({}) {}: enter the program's environment ({}), then run the same command\n".format(
            sys.executable or "python", what, way
        )
    )
    sys.exit(BAD_INPUT)
