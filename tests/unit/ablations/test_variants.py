"""The variants of Figure 9 as parameters and as DVC's settings."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from polite_flamingo.ablations.variants import BASE, assignments, select_variants, variants
from polite_flamingo.errors import ConfigError
from polite_flamingo.params.changes import changed
from polite_flamingo.params.reading import load_params
from polite_flamingo.params.schema import Params

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def params(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    loaded = load_params(ROOT / "params.yaml", "tiny")
    monkeypatch.chdir(tmp_path)
    folder = loaded.models / "backbones" / "flamingo" / "vision"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"image_size": 64, "patch_size": 8}))
    return loaded


def test_every_variant_changes_the_parameters_it_names_and_nothing_else(params: Params) -> None:
    for variant in variants(params):
        before, after = params.model_dump(), changed(params, variant.changes).model_dump()
        different = {key for key in before["tune"] if before["tune"][key] != after["tune"][key]}
        assert different == {key.split(".")[1] for key in variant.changes}
        assert {key: value for key, value in before.items() if key != "tune"} == {
            key: value for key, value in after.items() if key != "tune"
        }


def test_the_variants_are_those_of_figure_9(params: Params) -> None:
    found = {variant.name: dict(variant.changes) for variant in variants(params)}
    assert found == {
        "base": {},
        "resolution": {"tune.common.resolution": 40},
        "vit": {"tune.stage2.trainable": ["perceiver", "xattn", "vision"]},
        "lora_stage2": {"tune.stage2.trainable": ["perceiver", "xattn", "lora"]},
        "epochs": {"tune.stage2.epochs": 2 * params.tune.stage2.epochs},
        "no_stage1": {"tune.skip_stage1": True},
        "raw": {"tune.common.data": "raw"},
    }


def test_the_resolution_is_in_whole_patches_and_the_papers_for_its_tower(params: Params) -> None:
    config = params.models / "backbones" / "flamingo" / "vision" / "config.json"
    config.write_text(json.dumps({"image_size": 336, "patch_size": 14}))
    (side,) = (v.changes["tune.common.resolution"] for v in variants(params) if v.name == "resolution")
    assert side == 224


def test_the_recipe_is_always_among_the_chosen_and_comes_first(params: Params) -> None:
    assert [variant.name for variant in select_variants(params, ["raw", "vit"])] == [BASE, "vit", "raw"]


def test_an_unknown_variant_is_refused_with_the_nearest_one(params: Params) -> None:
    with pytest.raises(ConfigError, match="did you mean 'epochs'"):
        select_variants(params, ["epoch"])


def test_a_value_the_profile_replaces_is_set_in_the_profile(params: Params) -> None:
    settings = assignments(
        params, {"tune.stage2.epochs": 10, "tune.stage2.trainable": ["xattn", "vision"], "runtime.threads": 1}
    )
    assert settings == [
        "configs/profiles/tiny.yaml:overrides.tune.stage2.epochs=10",
        "params.yaml:tune.stage2.trainable=[xattn,vision]",
        "configs/profiles/tiny.yaml:runtime.threads=1",
    ]


def test_truth_and_nothing_are_written_as_yaml(params: Params) -> None:
    settings = assignments(params, {"tune.skip_stage1": True, "tune.common.resolution": None})
    assert settings == ["params.yaml:tune.skip_stage1=true", "params.yaml:tune.common.resolution=null"]


def test_a_parameter_that_does_not_exist_cannot_be_changed(params: Params) -> None:
    with pytest.raises(ConfigError, match=r"tune\.stage4: no such parameter"):
        changed(params, {"tune.stage4.epochs": 1})


def test_without_a_vision_tower_the_message_says_what_to_run(params: Params) -> None:
    (params.models / "backbones" / "flamingo" / "vision" / "config.json").unlink()
    with pytest.raises(ConfigError, match="polite-flamingo run"):
        variants(params)


def test_a_value_that_does_not_fit_names_parameter_and_value(params: Params) -> None:
    with pytest.raises(ConfigError, match=r"tune\.stage1\.epochs: .*'many'"):
        changed(params, {"tune.stage1.epochs": "many"})


def test_a_mixture_is_written_as_dvc_reads_it(params: Params) -> None:
    from dvc.utils.hydra import to_hydra_overrides

    (setting,) = assignments(params, {"tune.stage2.mixture": {"instruction": 1.0, "pf1m": 0.3}})
    assert setting == "params.yaml:tune.stage2.mixture={instruction:1.0,pf1m:0.3}"
    (read,) = to_hydra_overrides([setting.partition(":")[2]])
    assert read.value() == {"instruction": 1.0, "pf1m": 0.3}


def test_a_part_of_what_the_profile_replaces_is_set_in_the_profile(params: Params) -> None:
    assert "tune.stage1.mixture" in params.overridden
    (setting,) = assignments(params, {"tune.stage1.mixture.pf1m": 0.25})
    assert setting == "configs/profiles/tiny.yaml:overrides.tune.stage1.mixture.pf1m=0.25"
