"""How one request is decoded; greedy unless told otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import Field, ValidationError, field_validator, model_validator

from polite_flamingo.batching.tickets import EngineRequest
from polite_flamingo.errors import DataError
from polite_flamingo.model.settings import DecodingSettings, GenerationSettings
from polite_flamingo.settings import Settings

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage


class Decoding(Settings):
    """Decoding of a request. Beams are not among it: a text is told while it is made."""

    max_tokens: int = Field(512, gt=0, description="most tokens of a continuation")
    min_tokens: int = Field(0, ge=0, description="tokens before which it does not end by itself")
    temperature: float = Field(0.0, ge=0, le=100, description="divides the logits; 0: the likeliest token (greedy)")
    top_p: float = Field(0.9, gt=0, le=1, description="sample from the smallest set with this probability")
    top_k: int = Field(20, ge=0, description="sample from the k best; 0: all")
    seed: int = Field(0, description="decides, with a request's key, its random numbers")
    stop: tuple[str, ...] = Field((), max_length=16, description="texts before which the answer ends")
    no_repeat_ngram_size: int = Field(0, ge=0, description="n-grams of this size never repeat; 0: off")

    @field_validator("stop", mode="before")
    @classmethod
    def _one_or_several(cls, given: Any) -> Any:
        return (given,) if isinstance(given, str) else tuple(given or ())

    @field_validator("stop")
    @classmethod
    def _not_empty(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        if not all(given):
            raise ValueError("an empty text would end every answer before it begins")
        return given

    @model_validator(mode="after")
    def _least_within_most(self) -> Decoding:
        if self.min_tokens > self.max_tokens:
            raise ValueError(f"min_tokens ({self.min_tokens}) is more than max_tokens ({self.max_tokens})")
        return self

    @classmethod
    def like(cls, settings: DecodingSettings) -> Decoding:
        """The length and the n-grams of a profile's decoding; greedy, as answers should repeat."""
        return cls(
            max_tokens=settings.max_new_tokens,
            no_repeat_ngram_size=settings.no_repeat_ngram_size,
            top_p=settings.top_p,
            top_k=settings.top_k,
        )

    def but(self, values: Mapping[str, Any]) -> Decoding:
        """The same with some values replaced; those that are None are left.

        Raises:
            DataError: a name or a value does not fit.
        """
        given = {name: value for name, value in values.items() if value is not None}
        try:
            return type(self)(**{**self.model_dump(), **given})
        except ValidationError as error:
            problem = error.errors()[0]
            known = f"known: {', '.join(type(self).model_fields)}"
            raise DataError(
                f"decoding cannot be done so: {problem['msg']}",
                value=problem["input"],
                where=".".join(map(str, problem["loc"])),
                next_step=known if problem["type"] == "extra_forbidden" else None,
            ) from None

    @property
    def sampled(self) -> Decoding:
        """The same, sampling where it is greedy: how a faulty rewrite is tried again."""
        return self if self.temperature else self.model_copy(update={"temperature": 1.0})

    @property
    def generation(self) -> GenerationSettings:
        """As the pipeline's generation has it; it knows no `stop` and no `min_tokens`."""
        return GenerationSettings(
            max_new_tokens=self.max_tokens,
            num_beams=1,
            do_sample=self.temperature > 0,
            temperature=self.temperature or 1.0,
            top_k=self.top_k,
            top_p=self.top_p,
            no_repeat_ngram_size=self.no_repeat_ngram_size,
            seed=self.seed,
        )

    def request(self, prompt: str, images: tuple[PILImage, ...], key: str = "") -> EngineRequest:
        """A prompt that is to be continued so.

        Args:
            prompt: The text, with its image tokens.
            images: In order.
            key: Decides, with the seed, the random numbers.
        """
        return EngineRequest(prompt, images, self.generation, self.stop, key, min_tokens=self.min_tokens)


GREEDY = Decoding()
