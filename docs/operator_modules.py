"""Write analytics/declared_in.py: which module declares which operator, so that one can be had without importing all.

    python docs/operator_modules.py [--check]

An operator that is not in the file is still found, by importing everything. `--check` writes nothing and fails where the
file differs.
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from esd import operator

FILE = Path(__file__).parent.parent / "analytics" / "declared_in.py"
HEAD = '''"""Which module declares an operator. Made by `docs/operator_modules.py`; not to be edited."""

'''
TAIL = """MODULES = {name: line.partition(":")[0] for line in NAMES.splitlines() for name in line.split()[1:]}
"""


class Watched(dict[str, operator.Operator]):
    """A registry that notes the module whose import declares an operator."""

    def __init__(self, declared: Mapping[str, operator.Operator]) -> None:
        super().__init__(declared)
        self.modules: dict[str, str] = {}

    def __setitem__(self, name: str, declared: operator.Operator) -> None:
        frame: Any = sys._getframe(1)
        while frame.f_code.co_name != "<module>":
            frame = frame.f_back
        package, _, module = frame.f_globals["__name__"].rpartition(".")
        if package == operator.OWN:
            self.modules[name] = module
        super().__setitem__(name, declared)


def declaring_modules() -> dict[str, str]:
    """Return the module of each of the package's own operators, by importing all of them."""
    registry = operator._REGISTRY = Watched(operator._REGISTRY)
    operator.load_plugins()
    return dict(sorted(registry.modules.items()))


def page() -> str:
    """Return the file's text, formatted as the repository is."""
    names: dict[str, list[str]] = {}
    for name, module in declaring_modules().items():
        names.setdefault(module, []).append(name)
    rows = [
        f"{module}: {line}" for module, declared in sorted(names.items()) for line in textwrap.wrap(" ".join(declared), 100)
    ]
    table = "\n".join(rows)
    return f'{HEAD}NAMES = """\\\n{table}\n"""\n{TAIL}'


def main() -> None:
    """Write the file, or compare it."""
    text = page()
    if "--check" not in sys.argv:
        FILE.write_text(text)
    elif FILE.read_text() != text:
        sys.exit(f"{FILE.name} does not follow the registry; run python docs/operator_modules.py")


if __name__ == "__main__":
    main()
