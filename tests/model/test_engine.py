"""The engine: every text is the one its request gets alone, whatever else is in the batch and however it leaves."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from random import Random

import pytest
import torch
from PIL import Image
from tests.model.micro import micro_tokenizer
from tests.model.test_slots import WORDS

from polite_flamingo.batching.engine import Engine
from polite_flamingo.batching.models import FlamingoModel, TextModel
from polite_flamingo.batching.text import TextStream
from polite_flamingo.batching.tickets import (
    EngineClosedError,
    EngineRequest,
    PromptTooLongError,
    QueueFullError,
    RequestCancelledError,
    RequestTimeoutError,
)
from polite_flamingo.errors import DataError, ModelError
from polite_flamingo.jobs.backends.chat_model import ChatModel
from polite_flamingo.model import slots
from polite_flamingo.model.generate import Prompt, generate
from polite_flamingo.model.settings import GenerationSettings
from polite_flamingo.prompts.templates import SYSTEM_MESSAGE

IMG = "<image><|endofchunk|>"
LONG = GenerationSettings(max_new_tokens=400, num_beams=1, do_sample=False, no_repeat_ngram_size=0)


@pytest.fixture(scope="module")
def bundle(loaded_micro):
    """Ends its texts early and at different lengths."""
    bundle = deepcopy(loaded_micro)
    end = bundle.tokenizer.eos_token_id
    bundle.model.lang_encoder.get_output_embeddings().register_forward_hook(
        lambda module, args, out: out.index_add(-1, torch.tensor([end]), 0.5 + out.abs().amax(-1, keepdim=True) * 0.4)
    )
    return bundle


@contextmanager
def running(bundle, **sizes):
    engine = Engine(FlamingoModel(bundle), **sizes)
    try:
        yield engine
    finally:
        engine.close(finish=False)


def some_request(rng: Random, number: int) -> tuple[EngineRequest, tuple[str, ...]]:
    names = tuple(f"{rng.randrange(6)}.png" for _ in range(rng.choice([0, 1, 1, 2])))
    head = SYSTEM_MESSAGE + "\n" if rng.random() < 0.7 else ""
    text = f"{head}### Human: {IMG * len(names)}{' '.join(rng.choices(WORDS, k=rng.randint(1, 14)))} ?"
    settings = GenerationSettings(
        max_new_tokens=rng.choice([1, 5, 20, 40]),
        num_beams=1,
        do_sample=rng.random() < 0.5,
        temperature=rng.choice([0.7, 1.0, 1.3]),
        top_k=rng.choice([0, 20]),
        top_p=rng.choice([0.8, 1.0]),
        no_repeat_ngram_size=rng.choice([0, 2, 3]),
        seed=rng.randrange(3),
    )
    return EngineRequest(f"{text}\n### Assistant: ", settings=settings, key=f"key {number}"), names


@pytest.fixture(scope="module")
def cases(bundle, image_root):
    """Requests with what each gets alone."""
    rng, cases = Random(5), []
    for number in range(14):
        request, names = some_request(rng, number)
        alone = generate(
            bundle,
            [Prompt(request.prompt, names, request.key)],
            request.settings,
            image_root=image_root,
            batch_size=1,
        )[0]
        images = tuple(Image.open(image_root / name).convert("RGB") for name in names)
        cases.append((replace(request, images=images), alone))
    return cases


def told(completion):
    return completion.text, completion.finish_reason, completion.tokens


def alone_told(alone):
    return alone.text, alone.finish_reason, alone.tokens


def test_every_text_is_that_of_its_request_alone(bundle, cases):
    with running(bundle, slots=5) as engine:
        rng, tickets = Random(1), []
        for request, _ in cases:
            tickets.append(engine.submit(replace(request, client=rng.choice("abc"))))
            if rng.random() < 0.3:
                engine.submit(replace(request, settings=LONG)).cancel()
            time.sleep(rng.choice([0, 0.005]))  # some come while the batch runs
        results = [ticket.result(60) for ticket in tickets]
        assert [told(result) for result in results] == [alone_told(alone) for _, alone in cases]
        assert ["".join(ticket) for ticket in tickets] == [result.text for result in results]
        assert (engine.state.running, engine.state.waiting) == (0, 0)
    assert len({result.text for result in results}) > 6
    assert any(len(ticket.pieces()) > 3 for ticket in tickets)


def test_a_stop_text_ends_a_text_and_is_never_told(bundle, cases):
    request, alone = max(cases, key=lambda case: len(case[1].text))
    stop = alone.text[8:11]
    place = alone.text.index(stop)
    with running(bundle, slots=2) as engine:
        ticket = engine.submit(replace(request, stop=(stop, "never there")))
        assert "".join(ticket) == ticket.result().text == alone.text[:place].strip()
        assert ticket.result().finish_reason == "stop"
        assert engine.submit(request).result(60).text == alone.text


def test_out_of_memory_halves_the_slots_and_tells_nothing_twice(bundle, cases, monkeypatch):
    choose = slots.Slots._choose
    cases = sorted(cases, key=lambda case: -case[1].tokens)  # the long ones are in flight together
    gate = Gate(monkeypatch)

    def scarce(self, *args):
        if len(self.in_flight) > 2 and any(len(row.output) > 4 for row in self.rows):
            raise torch.OutOfMemoryError("out of memory")
        return choose(self, *args)

    monkeypatch.setattr(slots.Slots, "_choose", scarce)
    with running(bundle, slots=8) as engine:
        tickets = [engine.submit(request) for request, _ in cases]
        gate.open.set()
        assert [told(t.result(60)) for t in tickets] == [alone_told(alone) for _, alone in cases]
        assert ["".join(t) for t in tickets] == [alone.text for _, alone in cases]
        assert engine.state.out_of_memory > 0


def test_a_text_gets_its_least_tokens_and_no_other_does(bundle, cases):
    greedy = [case for case in cases if not case[0].settings.do_sample and case[1].finish_reason == "stop"]
    request, alone = greedy[0]
    settings = request.settings.model_copy(update={"max_new_tokens": 400})
    with running(bundle) as engine:
        longer = engine.submit(replace(request, settings=settings, min_tokens=alone.tokens + 5))
        assert told(engine.submit(request).result(60)) == alone_told(alone)
        assert longer.result(60).tokens >= alone.tokens + 5 and longer.result().text.startswith(alone.text)


def test_prompts_that_come_within_a_few_steps_are_read_together(micro, monkeypatch):
    request = EngineRequest("### Human: a\n### Assistant: ", settings=LONG.model_copy(update={"max_new_tokens": 12}))
    read, tickets = [], []
    enter, step = slots.Slots.enter, slots.Slots.step
    monkeypatch.setattr(slots.Slots, "enter", lambda batch, rows: (read.append(len(rows)), enter(batch, rows))[1])

    def another_comes(batch):
        if len(tickets) < 4:
            tickets.append(engine.submit(request))
        return step(batch)

    monkeypatch.setattr(slots.Slots, "step", another_comes)
    with running(micro) as engine:
        first = engine.submit(request).result(60)
        wait_until(lambda: len(tickets) == 4)
        assert {ticket.result(60).text for ticket in tickets} == {first.text}
    assert read[:2] == [1, 3]


def test_an_error_of_the_model_fails_what_is_in_flight_and_nothing_else(bundle, cases, monkeypatch):
    request, alone = cases[0]
    with running(bundle) as engine:
        with monkeypatch.context() as patch:
            patch.setattr(slots.Slots, "step", lambda self: (_ for _ in ()).throw(RuntimeError("shapes")))
            with pytest.raises(ModelError, match="the model failed"):
                engine.submit(replace(request, settings=LONG)).result(60)
            patch.setattr(slots.Slots, "_read_prompts", lambda *a: (_ for _ in ()).throw(MemoryError()))
            with pytest.raises(ModelError, match="does not hold one prompt"):
                engine.submit(request).result(60)
        assert told(engine.submit(request).result(60)) == alone_told(alone)


class Gate:
    """Holds the engine before its next step."""

    def __init__(self, monkeypatch):
        self.open = threading.Event()
        step = slots.Slots.step
        monkeypatch.setattr(slots.Slots, "step", lambda batch: (self.open.wait(30), step(batch))[1])


def wait_until(true, seconds=20.0):
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until
        time.sleep(0.002)


def test_a_full_queue_says_when_to_come_back_and_clients_take_turns(micro, monkeypatch):
    gate, order = Gate(monkeypatch), []
    request = EngineRequest("### Human: a\n### Assistant: ", settings=LONG.model_copy(update={"max_new_tokens": 3}))
    with running(micro, slots=1, queue=4) as engine:
        first = engine.submit(request)
        wait_until(lambda: engine.state.running == 1)
        for name in ("greedy 1", "greedy 2", "greedy 3", "modest 1"):
            engine.submit(
                replace(request, client=name.split()[0], key=name),
                notify=lambda name=name: order.append(name) if name not in order else None,
            )
        with pytest.raises(QueueFullError) as busy:
            engine.submit(request)
        assert 1 <= busy.value.retry_after <= 60
        gate.open.set()
        first.result(60)
        wait_until(lambda: len(order) == 4 and engine.state.running == 0)
    assert order == ["greedy 1", "modest 1", "greedy 2", "greedy 3"]


def test_a_late_request_and_one_whose_client_left_give_their_slots_back(micro, monkeypatch):
    gate = Gate(monkeypatch)
    request = EngineRequest("### Human: a\n### Assistant: ", settings=LONG)
    with running(micro, slots=1) as engine:
        late = engine.submit(replace(request, timeout=0.05))
        waiting = engine.submit(replace(request, timeout=0.05))
        left = engine.submit(request)
        time.sleep(0.1)
        gate.open.set()
        for ticket in (late, waiting):
            with pytest.raises(RequestTimeoutError):
                ticket.result(60)
        wait_until(lambda: engine.state.running == 1)
        left.cancel()
        with pytest.raises(RequestCancelledError):
            list(left)
        wait_until(lambda: engine.state.running == 0)


def test_who_leaves_first_does_not_disturb_those_behind(bundle, cases, monkeypatch):
    gate = Gate(monkeypatch)
    request, alone = max(cases, key=lambda case: case[1].tokens)
    with running(bundle) as engine:
        left = engine.submit(replace(request, min_tokens=40))
        wait_until(lambda: engine.state.running == 1)
        behind = [engine.submit(request) for _ in range(2)]
        reading = iter(behind[1])
        gate.open.set()
        next(reading)
        left.cancel()
        assert [told(ticket.result(60)) for ticket in behind] == [alone_told(alone)] * 2
        with pytest.raises(RequestCancelledError):
            left.result(60)


def test_closing_finishes_what_was_taken_and_refuses_the_rest(micro):
    request = EngineRequest("### Human: a\n### Assistant: ", settings=LONG.model_copy(update={"max_new_tokens": 40}))
    engine = Engine(FlamingoModel(micro), slots=1)
    taken = [engine.submit(request) for _ in range(3)]
    closing = threading.Thread(target=engine.close)
    closing.start()
    wait_until(lambda: not engine.alive)
    with pytest.raises(EngineClosedError):
        engine.submit(request)
    closing.join(60)
    assert len({ticket.result(0).text for ticket in taken}) == 1
    engine = Engine(FlamingoModel(micro), slots=1)
    left = [engine.submit(request) for _ in range(2)]
    engine.close(finish=False)
    for ticket in left:
        with pytest.raises(EngineClosedError):
            ticket.result(0)


def test_what_cannot_be_asked_is_said_at_once(micro):
    with running(micro) as engine:
        with pytest.raises(PromptTooLongError):
            engine.submit(EngineRequest("a red star " * 400))
        with pytest.raises(DataError, match="shows 1 images and has 0"):
            engine.submit(EngineRequest(f"{IMG}what ?"))
        with pytest.raises(DataError, match="without beams"):
            engine.submit(EngineRequest("a", settings=GenerationSettings(num_beams=3)))


def test_an_image_is_known_by_its_pixels_and_the_kept_ones_keep_to_their_bound(micro):
    one = 4 * 32 * 4  # bytes of an image's latents
    model = FlamingoModel(micro, image_bytes=2 * one)
    engine = Engine(model)
    request = EngineRequest(f"{IMG}what ?", settings=LONG.model_copy(update={"max_new_tokens": 12}))
    colours = [(i * 40, 255 - i * 40, 90) for i in range(6)]
    try:
        texts = {}
        for colour in [*colours, *reversed(colours)]:
            text = engine.submit(replace(request, images=(Image.new("RGB", (32, 32), colour),))).result(60).text
            assert texts.setdefault(colour, text) == text
        assert len(model._latents) == 2
    finally:
        engine.close(finish=False)


def text_model() -> TextModel:
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = micro_tokenizer()
    tokenizer.pad_token = tokenizer.eos_token
    tokenizer.padding_side = "left"
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    with torch.random.fork_rng():
        torch.manual_seed(3)
        lm = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=len(tokenizer), **sizes, max_position_embeddings=256, initializer_range=0.3,
                bos_token_id=None, eos_token_id=tokenizer.eos_token_id,
            )
        ).eval()  # fmt: skip
    return TextModel(ChatModel(lm, tokenizer, tokenizer, False, frozenset([tokenizer.eos_token_id]), 256))


def test_a_chat_model_of_text_is_batched_too():
    model = text_model()
    rng = Random(2)
    prompts = [" ".join(rng.choices(WORDS, k=rng.randint(1, 30))) for _ in range(9)]
    expected = []
    for prompt in prompts:
        ids = torch.tensor([model.encode(prompt, ())[0]])
        output = model.causal.lm.generate(ids, max_new_tokens=20, do_sample=False, pad_token_id=0)
        expected.append(model.decode([t for t in output[0, ids.shape[1] :].tolist() if t not in model.causal.ends]))
    engine = Engine(model, slots=4)
    try:
        settings = LONG.model_copy(update={"max_new_tokens": 20})
        tickets = [engine.submit(EngineRequest(prompt, settings=settings)) for prompt in prompts]
        assert [ticket.result(60).text for ticket in tickets] == expected
        with pytest.raises(DataError, match="text alone"):
            engine.submit(EngineRequest("what", images=(Image.new("RGB", (4, 4)),)))
    finally:
        engine.close(finish=False)


def test_half_a_character_is_never_told():
    tokenizer = micro_tokenizer()
    text = " a ☃ star — 星星 \n"

    def decode(tokens):
        return tokenizer.decode(list(tokens))

    ids = tokenizer(text).input_ids
    stream = TextStream(tokenizer, decode, stop=("star — 星?",))
    pieces = [stream.push([token]) for token in ids]
    assert "�" not in "".join(pieces) and pieces.count("") > 5
    whole, rest = stream.close(ids)
    assert "".join(pieces) + rest == whole == text.strip()
    cut = TextStream(tokenizer, decode, stop=("星",))
    assert "".join(cut.push([token]) for token in ids) + cut.close(ids)[1] == "a ☃ star —"
