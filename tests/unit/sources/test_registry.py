import subprocess
import sys

import pytest
from tests.unit.cases import case

from polite_flamingo.errors import ConfigError
from polite_flamingo.records import Task
from polite_flamingo.sources import catalogue, load_source


def test_every_registered_reader_loads_under_its_own_name() -> None:
    for name in catalogue():
        with case(name):
            reader = load_source(name)
            assert reader.name == name
            assert reader.licence
            assert reader.tasks <= set(Task)


def test_an_unknown_source_is_refused_with_a_suggestion() -> None:
    with pytest.raises(ConfigError, match="did you mean 'vqav2'"):
        load_source("vqa2")


def test_loading_every_reader_imports_nothing_heavy() -> None:
    code = (
        "import sys; from polite_flamingo.sources import catalogue, load_source; [load_source(n) for n in catalogue()];"
        "print([m for m in ('torch', 'transformers', 'pyarrow', 'ijson', 'PIL') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
