"""What an endpoint was asked for, and what it cost."""

from __future__ import annotations

from dataclasses import dataclass

from polite_flamingo.jobs.backends.chat_completion import Reply


@dataclass(slots=True)
class Usage:
    """What a backend has asked for so far.

    Args:
        requests: Requests sent, repetitions included.
        retries: Repetitions among them.
        answered: Answers received.
        cached: Answers taken from the cache instead.
        cached_prompt_tokens: Tokens of their prompts, counted when they were received.
        cached_completion_tokens: Tokens of these answers.
        failed: Requests that ended as a record's error.
        prompt_tokens: Tokens of the prompts answered, as the endpoint counts them.
        completion_tokens: Tokens of the answers.
        uncounted: Answers that came without counts.
        cost: Price of the counted tokens.
        seconds: Time of the answers received, repetitions and pauses included, added up.
    """

    requests: int = 0
    retries: int = 0
    answered: int = 0
    cached: int = 0
    cached_prompt_tokens: int = 0
    cached_completion_tokens: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    uncounted: int = 0
    cost: float = 0.0
    seconds: float = 0.0

    def __str__(self) -> str:
        tried = f", {self.retries:,} of them tried again" if self.retries else ""
        parts = [
            f"{self.answered:,} answers to {self.requests:,} requests{tried}" if self.requests else "no request",
            f"{self.cached:,} answers from the cache" if self.cached else "",
            f"{self.failed:,} without an answer" if self.failed else "",
            f"{self.prompt_tokens:,} tokens in, {self.completion_tokens:,} out" if self.completion_tokens else "",
            f"{self.uncounted:,} answers came without a count of tokens" if self.uncounted else "",
            f"cost {self.cost:,.2f}" if self.cost else "",
        ]
        return "; ".join(part for part in parts if part)

    def add(self, reply: Reply, price_in: float, price_out: float) -> None:
        """Count an answer; the prices are of a million tokens."""
        self.answered += 1
        if reply.prompt_tokens is None or reply.completion_tokens is None:
            self.uncounted += 1
            return
        self.spend((reply.prompt_tokens, reply.completion_tokens), price_in, price_out)

    def spend(self, tokens: tuple[int | None, int | None], price_in: float, price_out: float) -> None:
        """Count the tokens of a prompt, and of an answer that could not be used."""
        asked, said = (number or 0 for number in tokens)
        self.prompt_tokens += asked
        self.completion_tokens += said
        self.cost += (asked * price_in + said * price_out) / 1_000_000

    def recall(self, reply: Reply) -> None:
        """Count an answer of the cache, which costs nothing again."""
        self.cached += 1
        self.cached_prompt_tokens += reply.prompt_tokens or 0
        self.cached_completion_tokens += reply.completion_tokens or 0
