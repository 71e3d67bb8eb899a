"""A byte-level BPE tokenizer of the embedded world, shared by its small models."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

from polite_flamingo.prompts.templates import CHUNK_TOKEN, IMAGE_TOKEN, PAD_TOKEN
from polite_flamingo.world import language as say
from polite_flamingo.world import questions as ask
from polite_flamingo.world.scenes import draw_scene

EOS_TOKEN = "</s>"
VOCABULARY = 1024


def corpus(seed: int, scenes: int = 3000) -> Iterator[str]:
    """Yield text of the world: every kind of question, answer, caption and dialogue."""
    from polite_flamingo.prompts.commands import COMMANDS
    from polite_flamingo.prompts.templates import BOX_SENTENCE, rewriter_prompt

    for index in range(scenes):
        rng = Random(f"{seed}:corpus:{index}")
        scene = draw_scene(rng, held_out=index % 4 == 0)
        yield from say.captions(scene, rng)
        yield say.detail(scene, rng)
        for q in ask.questions(scene, rng, rng.choice(("plain", "formal"))):
            yield f"{q.text} {q.polite} {q.answer}"
        q = ask.choice_question(scene, rng)
        yield f"{q.text} {', '.join(q.choices)}? Answer: {q.answer}. {' '.join(q.rationales)} {q.polite}"
        for question, answer in (say.reasoning(scene, rng), ask.comparison(scene, rng), *say.small_talk(rng)):
            yield f"{question} {answer}"
        if index % 8 == 0:
            yield f"{rewriter_prompt('', '', 0)}{BOX_SENTENCE}"
            yield f'"x" is the answer to the question: "y" {rng.choice(COMMANDS)}'
            yield "Describe the following image. What changed between the two images? Please write a caption for it."


def train_tokenizer(seed: int, template: str | None = None) -> Any:
    """Train the tokenizer.

    Args:
        seed: Corpus seed.
        template: None for the language model; ``"single"`` ends every text with ``</s>`` (CLIP); ``"pair"`` also
            joins two texts (cross-encoders).

    Returns:
        A ``PreTrainedTokenizerFast``.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[PAD_TOKEN, EOS_TOKEN, IMAGE_TOKEN, CHUNK_TOKEN],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus(seed), trainer)
    if template is not None:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"$A {EOS_TOKEN}",
            pair=f"$A {EOS_TOKEN} $B:1 {EOS_TOKEN}:1",
            special_tokens=[(EOS_TOKEN, tokenizer.token_to_id(EOS_TOKEN))],
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD_TOKEN,
        eos_token=EOS_TOKEN,
        additional_special_tokens=[IMAGE_TOKEN, CHUNK_TOKEN],
        clean_up_tokenization_spaces=False,
        model_max_length=1024 if template is None else (64 if template == "single" else 192),
    )
