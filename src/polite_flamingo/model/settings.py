"""Settings of the models: where they come from, their adapters, their decoding."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from polite_flamingo.settings import Settings, Share

NONE = "none"  # instead of a model's origin: the profile goes without it


class LoraSettings(Settings):
    """Shape of the adapters on attention and feed-forward of the decoder (appendix A)."""

    r: int = Field(64, gt=0, description="rank, appendix A")
    alpha: int = Field(
        16, gt=0, description="scale times rank; the paper gives none: that of QLoRA's recipe for 7B, and so of Guanaco"
    )
    dropout: Share = Field(0.1, description="likewise")


class AdapterSettings(LoraSettings):
    """The adapters of a training, what they start from and what they lie on."""

    inline: ClassVar[bool] = True
    quantize: Literal["none", "nf4"] = Field(
        "none", description="ours: nf4 keeps the frozen decoder in four bits (QLoRA; extra `qlora`, a GPU)"
    )
    start_from: str | None = Field(
        None,
        description="folder of an adapter in PEFT's format, or hub:<id>@<revision> (appendix A: Guanaco-7B's, as in "
        "the profile paper_8xa100); null: fresh adapters",
    )


class DecodingSettings(Settings):
    """Decoding, with the defaults of the authors' inferencer."""

    max_new_tokens: int = Field(1024, gt=0, description="most tokens of a continuation")
    num_beams: int = Field(3, gt=0, description="1: greedy or plain sampling")
    do_sample: bool = Field(True, description="sample instead of taking the best")
    temperature: float = Field(1.0, gt=0, description="divides the logits when sampling")
    top_k: int = Field(20, ge=0, description="sample from the k best; 0: all")
    top_p: float = Field(0.9, gt=0, le=1, description="sample from the smallest set with this probability")
    length_penalty: float = Field(1.0, description="exponent of the length in beam scores")
    no_repeat_ngram_size: int = Field(3, ge=0, description="n-grams of this size never repeat; 0: off")


class GenerationSettings(DecodingSettings):
    """Decoding settings and the seed that decides, with a prompt's key, its random numbers."""

    seed: int = 0


class BackboneSettings(Settings):
    """Where each model comes from: packaged | local:<folder> | pypi:<package> | hub:<id>@<revision>; or none.

    A scorer that is ``none`` leaves its column empty, and the filters that read it keep every record.
    """

    flamingo: str = Field(NONE, description="what rewriter and assistant are trained from")
    clip: str = Field(NONE, description="scorer: image and text")
    nli: str = Field(NONE, description="scorer: annotation and rewrite")
    reward: str = Field(NONE, description="scorer: politeness")
    sts: str = Field(NONE, description="scorer: likeness of annotation and rewrite")
