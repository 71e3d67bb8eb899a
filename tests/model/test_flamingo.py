"""The Flamingo on a micro model: folders, images, masks, cached keys and values."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest
import torch
from tests.model.micro import build_micro

from polite_flamingo.errors import ImageError, ModelError
from polite_flamingo.model.architecture import GatedCrossAttentionBlock, MaskedCrossAttention
from polite_flamingo.model.bundle import named_tensors
from polite_flamingo.model.config import FlamingoConfig
from polite_flamingo.model.flamingo import PARTS, load_flamingo, save_flamingo
from polite_flamingo.model.tower import position_code

IMG = "<image><|endofchunk|>"


def ids(bundle, text):
    return torch.tensor([bundle.tokenizer(text, add_special_tokens=False).input_ids])


def logits(bundle, text, tokens, index):
    with torch.no_grad():
        return bundle.model(ids(bundle, text), vision_tokens=tokens, image_index=torch.tensor([index])).logits


def test_a_saved_model_gives_the_same_logits_when_loaded(micro, image_root):
    built, loaded = build_micro(), micro
    text = f"### Human: {IMG}what color is the star"
    one = logits(built, text, built.encode_images(["0.png"], image_root), [0])
    two = logits(loaded, text, loaded.encode_images(["0.png"], image_root), [0])
    assert torch.equal(one, two)


def test_untied_embeddings_survive_saving(tmp_path):
    built = build_micro(tie=False)
    save_flamingo(built, tmp_path)
    loaded = load_flamingo(tmp_path)
    zero = built.encode_images([])
    assert torch.equal(logits(built, "a red star", zero, [0]), logits(loaded, "a red star", zero, [0]))


def test_tied_embeddings_stay_tied(micro):
    lm = micro.model.lang_encoder
    assert lm.get_input_embeddings().weight is lm.get_output_embeddings().weight


def test_special_tokens_are_single_and_distinct(micro):
    tokenizer = micro.tokenizer
    encoded = [tokenizer(t, add_special_tokens=False).input_ids for t in ("<image>", "<|endofchunk|>", "<PAD>", "</s>")]
    assert all(len(e) == 1 for e in encoded)
    assert len({e[0] for e in encoded}) == 4
    assert tokenizer.pad_token == "<PAD>"


def test_building_does_not_touch_the_global_generator():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    build_micro()
    assert torch.equal(torch.rand(3), expected)


def test_cross_attention_equals_open_flamingos_own(micro):
    ours = micro.model.lang_encoder.gated_cross_attn_layers[0].attn
    theirs = MaskedCrossAttention(dim=32, dim_visual=32, dim_head=8, heads=2)
    theirs.load_state_dict(ours.state_dict())
    x, media = torch.randn(2, 7, 32), torch.randn(2, 3, 4, 32)
    where = torch.zeros(2, 7, dtype=torch.bool)
    where[0, [1, 4]] = True  # the second row has no image, the first fewer than slots
    for cached in (False, True):
        text = x[:, -1:] if cached else x
        expected = theirs(text, media, media_locations=where, use_cached_media=cached)
        assert torch.allclose(ours(text, media, media_locations=where, use_cached_media=cached), expected, atol=1e-6)


def test_keys_and_values_are_not_kept_across_other_images(micro):
    attention = micro.model.lang_encoder.gated_cross_attn_layers[0].attn
    where = torch.tensor([[True, False]])
    with torch.no_grad():
        first = attention(torch.ones(1, 2, 32), torch.randn(1, 1, 4, 32), media_locations=where)
        second = attention(torch.ones(1, 2, 32), torch.randn(1, 1, 4, 32), media_locations=where)
    assert not torch.allclose(first, second)


def test_text_attends_to_the_last_image_before_it_only(micro, image_root):
    tokens = micro.encode_images(["0.png", "1.png", "2.png"], image_root)
    text = f"a {IMG}red {IMG}star"
    head = ids(micro, f"a {IMG}red ").shape[1]
    base, other = logits(micro, text, tokens, [0, 1]), logits(micro, text, tokens, [0, 2])
    assert torch.allclose(base[:, :head], other[:, :head], atol=1e-5)
    assert not torch.allclose(base[:, head:], other[:, head:], atol=1e-3)


def test_text_without_an_image_ignores_the_dummy_image(micro):
    dummy = micro.encode_images([])
    assert torch.equal(logits(micro, "a red star", dummy, [0]), logits(micro, "a red star", dummy + 3, [0]))


def test_the_summed_loss_equals_the_loss_from_all_logits(micro, image_root):
    tokens = micro.encode_images(["0.png"], image_root)
    x = ids(micro, f"a {IMG}red star and a blue circle")
    labels = x.clone()
    labels[:, :6] = -100
    index = torch.zeros(1, 1, dtype=torch.long)
    with torch.no_grad():
        mean = micro.model(x, vision_tokens=tokens, image_index=index, labels=labels).loss
        summed = micro.model.supervised_loss(x, None, labels, tokens, index)
    assert summed.item() == pytest.approx(mean.item() * (labels[:, 1:] != -100).sum().item(), rel=1e-5)


def test_an_image_is_encoded_once(micro, image_root, monkeypatch):
    seen = []
    forward = micro.tower.forward
    monkeypatch.setattr(micro.tower, "forward", lambda pixels: (seen.append(len(pixels)), forward(pixels))[1])
    first = micro.encode_images(["0.png", "1.png", "0.png"], image_root)
    second = micro.encode_images(["1.png", "0.png"], image_root)
    assert sum(seen) == 2
    assert torch.equal(first[0], first[2]) and torch.equal(first[:2].flip(0), second)


def test_the_image_cache_keeps_to_its_bound(micro, image_root):
    bundle = replace(micro, cache_bytes=2 * 16 * 32 * 4)
    rows = bundle.encode_images([f"{i}.png" for i in range(6)], image_root)
    assert [key.rsplit("/", 1)[1] for key in bundle._tokens] == ["4.png", "5.png"]
    assert torch.equal(bundle.encode_images(["5.png"], image_root)[0], rows[5])
    small = replace(bundle, cache_bytes=1)
    assert torch.equal(small.encode_images([f"{i}.png" for i in range(6)], image_root), rows) and not small._tokens


def test_a_missing_image_is_an_image_error(micro, image_root):
    with pytest.raises(ImageError, match="missing"):
        micro.encode_images(["none.png"], image_root)


def test_position_code_differs_at_every_patch():
    code = position_code(16, 32)
    assert len({tuple(row.tolist()) for row in code}) == 16


def test_vision_tokens_get_unit_variance_and_position(micro_flamingo_folder, image_root, tmp_path):
    shutil.copytree(micro_flamingo_folder, tmp_path / "m")
    config = json.loads((tmp_path / "m" / "config.json").read_text())
    config["vision_tokens"] = {"unit_variance": True, "position_code": True}
    (tmp_path / "m" / "config.json").write_text(json.dumps(config))
    tokens = load_flamingo(tmp_path / "m").encode_images(["0.png"], image_root)[0] - position_code(16, 32)
    assert torch.allclose(tokens.std(dim=-1, unbiased=False), torch.ones(16), atol=1e-2)


def test_every_tensor_has_one_name(micro):
    model = micro.model
    names = named_tensors(model)
    assert len(names) == len({id(p) for p in model.parameters()})
    assert "lang_encoder.gated_cross_attn_layers.0.attn_gate" in names


def test_a_missing_part_is_named(micro_flamingo_folder, tmp_path):
    shutil.copytree(micro_flamingo_folder, tmp_path / "m")
    for part in PARTS:
        (tmp_path / "m" / part).rename(tmp_path / part)
        with pytest.raises(ModelError, match=part):
            load_flamingo(tmp_path / "m")
        (tmp_path / part).rename(tmp_path / "m" / part)


def test_an_unknown_config_key_is_refused():
    with pytest.raises(ModelError, match="perciever"):
        FlamingoConfig.from_dict({"perciever": {}})


def test_a_connector_of_another_size_is_refused(micro_flamingo_folder, tmp_path):
    shutil.copytree(micro_flamingo_folder, tmp_path / "m")
    config = json.loads((tmp_path / "m" / "config.json").read_text())
    config["perceiver"]["num_latents"] = 5
    (tmp_path / "m" / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="another shape"):
        load_flamingo(tmp_path / "m")


def test_blocks_have_open_flamingos_tensors():
    names = set(GatedCrossAttentionBlock(dim=32, dim_visual=32).state_dict())
    assert {"attn.to_q.weight", "attn.to_kv.weight", "attn_gate", "ff_gate"} <= names
