"""Pickles of plain data, read without running anything in them."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any, ClassVar

from polite_flamingo.errors import DataError
from polite_flamingo.sources.forms.files import open_file

MAX_BYTES = 1 << 30
_ALLOWED = {(module, name) for module in ("builtins", "__builtin__") for name in ("set", "frozenset")}


class _Plain(pickle._Unpickler):  # not the C one: its memo takes as much memory as a broken file asks for
    """Builds lists, dicts, tuples, sets, text, bytes and numbers; everything else a pickle may ask for is refused."""

    dispatch: ClassVar[dict[int, Any]] = {  # no bytearray: it, too, takes as much as it asks for
        code: load for code, load in pickle._Unpickler.dispatch.items() if code != pickle.BYTEARRAY8[0]
    }

    def find_class(self, module: str, name: str) -> Any:
        """Refuse every class and function but those of sets."""
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"asks for {module}.{name}")
        return {"set": set, "frozenset": frozenset}[name]


def load_plain(path: Path) -> Any:
    """Load a pickle of builtin containers and scalars, also one written by Python 2 (its strings are taken as UTF-8).

    Raises:
        DataError: missing, broken, over 1 GiB, or it asks for anything else (a class, a function, a NumPy number).
    """
    hint = f"fetch {path.name} again; a pickle from elsewhere is not to be trusted"
    try:
        if path.stat().st_size > MAX_BYTES:
            raise DataError("pickle is too large", value=path.stat().st_size, where=path, next_step=hint)
        with open_file(path) as file:
            data = file.read()
    except OSError as error:
        raise DataError("pickle cannot be read", value=error.strerror, where=path, next_step=hint) from None
    try:
        return _Plain(io.BytesIO(data), encoding="utf-8", errors="replace").load()
    except Exception as error:  # a broken pickle can raise nearly anything
        reason = f"{type(error).__name__}: {error}"
        raise DataError("pickle does not hold plain data alone", value=reason, where=path, next_step=hint) from None
