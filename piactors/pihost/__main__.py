"""The program that a host starts by path: an isolate, or the launcher that forks isolates.

The folder is loaded as the private package `_pihost`, and leaves `sys.path`: isolated code must
not find these modules in place of its own.
"""

import importlib
import importlib.util
import os
import sys
import types

_HERE = os.path.dirname(os.path.abspath(__file__))
_PARTS = {"isolate": "_pihost.serve.isolate", "launcher": "_pihost.fork.launcher"}


def _load_package() -> None:
    """Load this folder as `_pihost`, whatever its own name is."""
    if not os.path.isdir(_HERE):
        _load_from_archive()
        return
    spec = importlib.util.spec_from_file_location(
        "_pihost", os.path.join(_HERE, "__init__.py"), submodule_search_locations=[_HERE]
    )
    assert spec is not None
    assert spec.loader is not None
    package = importlib.util.module_from_spec(spec)
    sys.modules["_pihost"] = package
    spec.loader.exec_module(package)


def _load_from_archive() -> None:
    import zipimport

    package = types.ModuleType("_pihost")
    package.__path__ = [_HERE]
    package.__package__ = "_pihost"
    sys.modules["_pihost"] = package
    exec(zipimport.zipimporter(os.path.dirname(_HERE)).get_code(os.path.basename(_HERE)), package.__dict__)


def main() -> None:
    """Run the part named by the first argument; it ends the process itself."""
    if sys.version_info < (3, 8):
        raise SystemExit("isolates need Python 3.8 or later, but {} is {}.{}".format(sys.executable, *sys.version_info))
    if sys.path and os.path.abspath(sys.path[0] or ".") == _HERE:
        del sys.path[0]
    _load_package()
    part = sys.argv[1] if len(sys.argv) > 1 else ""
    if part not in _PARTS:
        raise SystemExit("pihost is started by piactors; to use it, call piactors.spawn or piactors.ProcessIsolator")
    try:
        importlib.import_module("_pihost.process.stdio").fill()
        importlib.import_module(_PARTS[part]).main(sys.argv[2:])
    except (OSError, MemoryError, RuntimeError) as error:
        lacks = importlib.import_module("_pihost.process.lacks")
        if part != "launcher" or not lacks.is_lack(error):
            raise
        importlib.import_module("traceback").print_exc()
        os._exit(lacks.OUT_OF_RESOURCES)


if __name__ == "__main__":
    main()
