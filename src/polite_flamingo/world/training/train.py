"""``make backbones``: train the shipped small models from nothing, with fixed seeds, and write their figures.

Order: CLIP, then LM and connector on its frozen tower, then the NLI cross-encoder and the reward model. The figures and
the hash of every file go to ``manifest.json``; `measure` repeats the measurement on the files alone.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from polite_flamingo.io.hashes import hash_file
from polite_flamingo.io.text import write_json
from polite_flamingo.model.origins import PACKAGED

SEED = 42
IMAGE_SIZE = 64
SETTINGS: dict[str, dict[str, int]] = {
    "clip": {"steps": 600, "batch": 64, "scenes": 6000},
    "flamingo": {"text_steps": 200, "steps": 900, "paired_steps": 700, "batch": 32, "scenes": 6000},
    "nli": {"steps": 220, "batch": 48, "further_steps": 150, "further_batch": 24},
    "reward": {"steps": 400, "batch": 24},
}
TOLERANCE = 0.02  # figures may differ by this much between machines: sums are ordered differently
THREADS = 2


def train_all(out: Path = PACKAGED, only: tuple[str, ...] = tuple(SETTINGS)) -> dict[str, Any]:
    """Train the models named in `only` into `out` and rewrite its manifest.

    Returns:
        The manifest: settings, figures and SHA-256 per file.
    """
    import torch

    from polite_flamingo.world.training.clip import train_clip
    from polite_flamingo.world.training.connector import train_connector
    from polite_flamingo.world.training.cross_encoders import train_nli, train_reward

    torch.set_num_threads(THREADS)
    for name in only:
        shutil.rmtree(out / name, ignore_errors=True)
        if name == "clip":
            train_clip(out / name, image_size=IMAGE_SIZE, seed=SEED, **SETTINGS[name])
        elif name == "flamingo":
            train_connector(out / name, out / "clip", seed=SEED, **SETTINGS[name])
        elif name == "nli":
            train_nli(out / name, seed=SEED, **SETTINGS[name])
        else:
            train_reward(out / name, seed=SEED, **SETTINGS[name])
    manifest = {
        "seed": SEED,
        "image_size": IMAGE_SIZE,
        "settings": SETTINGS,
        "figures": {name: measure(name, out / name) for name in SETTINGS if (out / name).is_dir()},
        "files": {
            name: {
                p.relative_to(out / name).as_posix(): hash_file(p)
                for p in sorted((out / name).rglob("*"))
                if p.is_file()
            }
            for name in SETTINGS
        },
    }
    write_json(out / "manifest.json", manifest)
    return manifest


def measure(name: str, folder: Path) -> dict[str, float]:
    """Held-out figures of one of the small models in `folder`."""
    from polite_flamingo.world.training.clip import measure_clip
    from polite_flamingo.world.training.connector import measure_connector
    from polite_flamingo.world.training.cross_encoders import measure_nli, measure_reward

    how = {"clip": measure_clip, "flamingo": measure_connector, "nli": measure_nli, "reward": measure_reward}
    return how[name](folder, seed=SEED)


def main() -> None:
    """Entry point of ``python -m polite_flamingo.world.training.train [name …]``."""
    import json
    import sys

    sys.stdout.write(json.dumps(train_all(only=tuple(sys.argv[1:]) or tuple(SETTINGS))["figures"], indent=2) + "\n")


if __name__ == "__main__":
    main()
