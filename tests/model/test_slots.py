"""Continuous batching: slots, shared beginnings, kept images, back-off when memory runs out."""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import partial
from random import Random

import pytest
import torch
from tests.model.micro import micro_tokenizer

from polite_flamingo.errors import ImageError, ModelError
from polite_flamingo.model import beams, slots
from polite_flamingo.model.bundle import build_flamingo
from polite_flamingo.model.config import CrossAttention, FlamingoConfig, Perceiver
from polite_flamingo.model.generate import Prompt, generate
from polite_flamingo.model.sampling import Ngrams
from polite_flamingo.model.settings import GenerationSettings
from polite_flamingo.model.tokens import encode

IMG = "<image><|endofchunk|>"
GREEDY = GenerationSettings(max_new_tokens=10, num_beams=1, do_sample=False, no_repeat_ngram_size=0)
SAMPLING = GenerationSettings(max_new_tokens=10, num_beams=1, do_sample=True, no_repeat_ngram_size=3)
WORDS = ["what", "color", "is", "the", "star", "in", "the", "top", "left", "and", "how", "many", "are", "there"]


def some_prompts(count: int, beginning: str = "") -> list[Prompt]:
    rng = Random(3)
    prompts = []
    for i in range(count):
        shown = tuple(f"{rng.randrange(6)}.png" for _ in range(rng.choice([0, 1, 1, 2])))
        text = f"{beginning}### Human: {IMG * len(shown)}{' '.join(rng.choices(WORDS, k=rng.randint(1, 14)))} ?"
        prompts.append(Prompt(f"{text}\n### Assistant: ", shown, f"sample {i}"))
    return prompts


@pytest.fixture
def bundle(micro):
    return micro


@pytest.fixture
def ending(bundle):
    """A bundle that ends its texts early and at different lengths."""
    end = bundle.tokenizer.eos_token_id
    bundle.model.lang_encoder.get_output_embeddings().register_forward_hook(
        lambda module, args, out: out.index_add(-1, torch.tensor([end]), 0.5 + out.abs().amax(-1, keepdim=True) * 0.5)
    )
    return bundle


@pytest.mark.parametrize("settings", [GREEDY, SAMPLING], ids=["greedy", "sampling"])
def test_the_number_of_slots_changes_nothing(ending, image_root, settings):
    prompts = some_prompts(20)
    alone = [generate(ending, [p], settings, image_root=image_root, batch_size=1)[0] for p in prompts]
    assert len({g.tokens for g in alone}) > 2  # rows do end at different times
    for rows in (3, 7, 64):
        assert generate(ending, prompts, settings, image_root=image_root, batch_size=rows) == alone, f"{rows} slots"


def test_what_all_prompts_begin_with_is_read_once(bundle, image_root, monkeypatch):
    beginning = "a red star and a blue circle in the top left and a green square : "
    prompts = some_prompts(6, beginning)
    alone = [generate(bundle, [p], GREEDY, image_root=image_root, batch_size=1)[0] for p in prompts]
    read = []
    forward = slots.Slots._forward
    monkeypatch.setattr(slots.Slots, "_forward", lambda s, ids, *rest: (read.append(ids), forward(s, ids, *rest))[1])
    assert generate(bundle, prompts, GREEDY, image_root=image_root, batch_size=3) == alone
    shared = encode(bundle.tokenizer, beginning)[:12]
    assert read[0][0].tolist()[: len(shared)] == shared
    assert all(ids[:, : len(shared)].tolist() != [shared] * len(ids) for ids in read[1:])


def test_ended_rows_make_room_for_the_next(ending, image_root, monkeypatch):
    busy = []
    step = slots.Slots.step
    monkeypatch.setattr(slots.Slots, "step", lambda self: (busy.append(len(self.rows)), step(self))[1])
    results = generate(ending, some_prompts(40), GREEDY, image_root=image_root, batch_size=8)
    assert max(busy) == 8
    assert len(busy) < -(-40 // 8) * max(g.tokens for g in results)  # fewer steps than fixed batches take


def test_a_token_budget_bounds_the_rows_in_flight(bundle, image_root, monkeypatch):
    prompts = some_prompts(10)
    longest = max(len(encode(bundle.tokenizer, p.text)) for p in prompts)
    budget = 3 * (longest + GREEDY.max_new_tokens)
    spent = []
    step = slots.Slots.step
    monkeypatch.setattr(
        slots.Slots,
        "step",
        lambda self: (spent.append(sum(len(r.ids) + r.limit for r in self.rows)), step(self))[1],
    )
    free = generate(bundle, prompts, GREEDY, image_root=image_root, batch_size=10)
    assert max(spent) > budget
    spent.clear()
    assert generate(bundle, prompts, GREEDY, image_root=image_root, batch_size=10, token_budget=budget) == free
    assert max(spent) <= budget


@pytest.mark.parametrize("settings", [GREEDY, SAMPLING], ids=["greedy", "sampling"])
def test_out_of_memory_halves_the_rows_and_loses_nothing(ending, image_root, monkeypatch, caplog, settings):
    prompts = some_prompts(12)
    expected = generate(ending, prompts, settings, image_root=image_root, batch_size=12)
    for method in ("_read_prompts", "_choose"):
        working = getattr(slots.Slots, method)

        def scarce(self, *args, working=working):
            if len(self.in_flight) > 2:
                raise torch.OutOfMemoryError("out of memory")
            return working(self, *args)

        caplog.clear()
        with monkeypatch.context() as patch, caplog.at_level(logging.WARNING):
            patch.setattr(slots.Slots, method, scarce)
            results = generate(ending, prompts, settings, image_root=image_root, batch_size=12)
        assert results == expected, f"no memory in {method}"
        assert "going on with 6" in caplog.text, f"no memory in {method}"


def test_memory_for_not_even_one_row_is_an_error(bundle, image_root, monkeypatch):
    def scarce(self, *args):
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 5 bytes.")

    monkeypatch.setattr(slots.Slots, "_read_prompts", scarce)
    with pytest.raises(ModelError, match="does not hold one prompt"):
        generate(bundle, some_prompts(3), GREEDY, image_root=image_root, batch_size=3)


def test_other_errors_are_not_taken_for_a_lack_of_memory(bundle, image_root, monkeypatch):
    def broken(self, *args):
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(slots.Slots, "_read_prompts", broken)
    with pytest.raises(RuntimeError, match="shapes"):
        generate(bundle, some_prompts(3), GREEDY, image_root=image_root, batch_size=3)


def test_beams_back_off_too(bundle, image_root, monkeypatch):
    settings = GenerationSettings(max_new_tokens=5, num_beams=2, do_sample=False)
    prompts = some_prompts(5)
    expected = generate(bundle, prompts, settings, image_root=image_root, batch_size=5)
    search = beams._search

    def scarce(bundle, rows, *rest):
        if len(rows) > 2:
            raise torch.OutOfMemoryError("out of memory")
        return search(bundle, rows, *rest)

    monkeypatch.setattr(beams, "_search", scarce)
    assert generate(bundle, prompts, settings, image_root=image_root, batch_size=5) == expected


def test_an_image_is_resampled_once_for_all_prompts_and_calls(bundle, image_root, monkeypatch):
    seen = []
    latents = bundle.model.latents
    monkeypatch.setattr(bundle.model, "latents", lambda tokens: (seen.append(len(tokens)), latents(tokens))[1])
    prompts = [Prompt(f"{IMG}what {i}", (f"{i % 2}.png",)) for i in range(10)]
    generate(bundle, prompts, GREEDY, image_root=image_root, batch_size=2)
    generate(bundle, prompts, GREEDY, image_root=image_root, batch_size=4)
    assert sum(seen) == 2


def test_kept_images_are_forgotten_when_the_perceiver_learns(bundle, image_root):
    before = bundle.image_latents(["0.png"], image_root)
    with torch.no_grad():
        next(bundle.model.perceiver.parameters()).add_(1.0)
    assert not torch.equal(bundle.image_latents(["0.png"], image_root), before)


def test_kept_latents_keep_to_their_bound(bundle, image_root):
    bundle = replace(bundle, cache_bytes=2 * 4 * 32 * 4)
    rows = bundle.image_latents([f"{i}.png" for i in range(6)], image_root)
    assert [name.rsplit("/", 1)[1] for name in bundle._latents] == ["4.png", "5.png"]
    assert torch.equal(bundle.image_latents(["5.png"], image_root)[0], rows[5])
    torch.testing.assert_close(bundle.image_latents(["0.png"], image_root)[0], rows[0])


def test_prefetched_images_are_not_opened_again(bundle, image_root, monkeypatch):
    prompts = [Prompt(f"{IMG}what ?", (f"{i}.png",)) for i in range(4)]
    expected = generate(bundle, prompts, GREEDY, image_root=image_root, batch_size=2)
    bundle.clear_cache()
    opened = []
    load = bundle._load_pixels
    monkeypatch.setattr(bundle, "_load_pixels", lambda path, root: (opened.append(path), load(path, root))[1])
    bundle.prefetch_images([f"{i}.png" for i in range(4)], image_root)
    assert generate(bundle, prompts, GREEDY, image_root=image_root, batch_size=2) == expected
    assert sorted(opened) == ["0.png", "1.png", "2.png", "3.png"]


def test_a_broken_image_is_an_error_where_it_is_used(bundle, image_root, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no image")
    prompts = [Prompt(f"{IMG}what ?", ("broken.png",))]
    bundle.prefetch_images(["broken.png"], tmp_path)
    with pytest.raises(ImageError):
        generate(bundle, prompts, GREEDY, image_root=tmp_path, batch_size=1)


def test_forbidden_repetitions_are_hugging_faces():
    from transformers import NoRepeatNGramLogitsProcessor

    for size in (1, 2, 3):
        rng = Random(size)
        ids = [rng.randrange(4) for _ in range(3)]
        grams = Ngrams(size, ids)
        processor = NoRepeatNGramLogitsProcessor(size)
        for _ in range(40):
            scores = processor(torch.tensor([ids]), torch.zeros(1, 4))
            banned = set(scores[0].isneginf().nonzero().flatten().tolist())
            assert set(grams.banned()) == banned, f"n-grams of {size} after {ids}"
            token = rng.randrange(4)
            ids.append(token)
            grams.add(token)


def test_compiled_decoding_gives_the_same_texts_with_few_graphs(ending, image_root, monkeypatch):
    from torch._dynamo.utils import counters

    prompts = [some_prompts(5)[index] for index in (0, 4)]  # one ends before the other
    expected = generate(ending, prompts, GREEDY, image_root=image_root, batch_size=2)
    assert len({len(generated.text) for generated in expected}) == 2
    counters.clear()
    # graphs are traced and made functional as for Inductor, whose C++ would take half a minute to compile
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    assert generate(ending, prompts, GREEDY, image_root=image_root, batch_size=2, compiled=True) == expected
    assert counters["stats"]["unique_graphs"] == 2  # of a row and of rows, however long


def family(name: str):
    """A micro Flamingo on another family of language models."""
    from transformers import AutoConfig, AutoModelForCausalLM, CLIPVisionConfig, CLIPVisionModel

    tokenizer = micro_tokenizer()
    special = {
        "mistral": {"sliding_window": 8, "num_key_value_heads": 2, "intermediate_size": 64},
        "gpt_neo": {"attention_types": [[["global", "local"], 1]], "window_size": 8, "num_layers": 2, "num_heads": 4},
        "gptj": {"n_embd": 32, "n_layer": 2, "n_head": 4, "rotary_dim": 4, "n_positions": 256},
    }[name]
    common = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 256}
    common = (
        {} if name == "gptj" else {"hidden_size": 32, "max_position_embeddings": 256} if name == "gpt_neo" else common
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = AutoConfig.for_model(
            name, **common, **special, vocab_size=len(tokenizer), eos_token_id=tokenizer.eos_token_id, bos_token_id=None
        )
        lm = AutoModelForCausalLM.from_config(config)
        with torch.no_grad():
            for parameter in lm.parameters():
                if parameter.dim() > 1:
                    parameter.normal_(0, 0.3)
        sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
        vision = CLIPVisionModel(CLIPVisionConfig(**sizes, image_size=32, patch_size=8))
    sizes = FlamingoConfig(1, Perceiver(1, 4, 8, 2), CrossAttention(8, 2))
    bundle = build_flamingo(lm, tokenizer, vision, config=sizes)
    with torch.no_grad():
        for block in bundle.model.lang_encoder.gated_cross_attn_layers:
            block.attn_gate.fill_(1.0)
            block.attn.to_out.weight.mul_(8)
    return bundle


@pytest.mark.parametrize("name", ["mistral", "gpt_neo", "gptj"])  # the others: test_families.py
def test_slots_suit_every_family_of_language_models(image_root, name):
    bundle = family(name)
    prompts = some_prompts(5)
    settings = GenerationSettings(max_new_tokens=6, num_beams=1, do_sample=False, no_repeat_ngram_size=0)
    results = generate(bundle, prompts, settings, image_root=image_root, batch_size=3)
    never = [bundle.media_token_id, bundle.tokenizer.pad_token_id]
    for prompt, result in zip(prompts, results, strict=True):
        ids = encode(bundle.tokenizer, prompt.text)
        start = len(ids)
        images = bundle.encode_images(prompt.images, image_root)
        index = torch.arange(max(1, len(prompt.images)))[None]
        while len(ids) < start + 6 and ids[-1] != bundle.tokenizer.eos_token_id:
            with torch.no_grad():
                last = bundle.model(torch.tensor([ids]), vision_tokens=images, image_index=index).logits[0, -1]
            last[never] = -torch.inf
            ids.append(int(last.argmax()))
        assert result.text == bundle.tokenizer.decode(ids[start:], skip_special_tokens=True).strip()
