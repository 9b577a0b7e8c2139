"""Every module of this package, imported: all operators are declared then.

A single operator is found through `declared_in`, without the others.
"""

from importlib import import_module
from pkgutil import iter_modules

from esd import analytics

__all__: list[str] = []

for _module in sorted(module.name for module in iter_modules(analytics.__path__)):
    import_module(f"{analytics.__name__}.{_module}")
