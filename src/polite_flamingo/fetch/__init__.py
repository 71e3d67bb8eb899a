"""Getting datasets from their official locations: the only readers' code that uses the network.

`transfer` moves one file, `archives` unpacks one, `record` remembers what is done, `datasets` does a whole dataset and
`state` says what is there.
"""

from polite_flamingo.fetch.datasets import fetch_datasets
from polite_flamingo.fetch.state import State, find_state

__all__ = ["State", "fetch_datasets", "find_state"]
