"""What the rewriting engine and the LLM-instructed distortion ask of a model, whatever runs it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from polite_flamingo.records import Generated

ERROR = "error: "  # begins the finish reason of a request that brought no usable answer


@dataclass(frozen=True, slots=True)
class Request:
    """One text to generate.

    Args:
        key: Sample id; decides, with the run's seed and `attempt`, the random numbers.
        instruction: What the raw answer responds to.
        draft: The raw answer, to be rewritten.
        images: Paths below the image root, in order.
        messages: Chat messages of text alone, used instead of instruction, draft and images (distortion); a last
            message of the assistant is to be continued.
        attempt: 0 for the first try; above 0 a repair: other random numbers, and sampling even where the settings
            are greedy.
    """

    key: str
    instruction: str = ""
    draft: str = ""
    images: tuple[str, ...] = ()
    messages: tuple[Mapping[str, Any], ...] | None = None
    attempt: int = 0


class Backend(Protocol):
    """A model behind a queue of requests."""

    @property
    def identity(self) -> str:
        """Content hash of weights, prompt form and settings: part of the key of every unit of work."""

    @property
    def batch_size(self) -> int:
        """Requests per call that suit this backend."""

    def generate(self, requests: Sequence[Request]) -> list[Generated]:
        """Answer every request, in order.

        An answer depends on its own request only. ``finish_reason`` is "stop", "length", or "error: …" with an empty
        text where this one request cannot be answered.

        Raises:
            ModelError: nothing can be answered (weights unusable, endpoint refuses or stays silent).
        """

    def close(self) -> None:
        """Free what is held; a closed backend is not used again."""


def failed(generated: Generated) -> bool:
    """True where a request brought an error instead of an answer."""
    return generated.finish_reason.startswith(ERROR)
