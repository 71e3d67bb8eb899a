"""The paper's data for LLM-instructed distortion: 24 commands (Table 5) and the prompt around them (section 3.1.1).

The wording, its spelling included, is the authors'. Changing one letter changes what a language model answers.
"""

from __future__ import annotations

from dataclasses import dataclass

from polite_flamingo.prompts.templates import SYSTEM_MESSAGE

COMMANDS: tuple[str, ...] = (
    "Additionally, I have removed all the punctuation marks and capitalization in my response.",
    "To make my response more unnatural, I have added a little amount of typos and spelling mistakes.",
    "I have also added some grammatical errors to my response.",
    "Moreover, random words and sentences have been removed from my response.",
    "In addition, all letters in my response have been converted to uppercase.",
    "In addition, all letters in my response have been converted to lowercase.",
    "Furthermore, I have replaced certain words with their synonyms in my response.",
    "Additionally, I have inserted unnecessary repetition in my response.",
    "To make my response less coherent, I have rearranged the sentence structure.",
    "I have deliberately used incorrect tenses and verb conjugations in my response.",
    "Moreover, I have introduced unnecessary verbosity in my response.",
    "I make my response as short as possible by removing all unnecessary words and sentences.",
    "I have kept only the essential information and separated them by commas.",
    "I have removed any decorative formatting or styling, which may affect the readability of my response.",
    "I have rewritten the sentences and replaced words with their synonyms.",
    "I have reversed the order of sentences, presenting information from back to front.",
    "I made my response sounds more unprofessional and causual.",
    "Furthermore, I have made the language more complex and sophisticated in my response.",
    "To create ambiguity, I have added multiple interpretations in my sentences.",
    "Additionally, I have used unconventional metaphors and analogies in my response.",
    "To lower the quality of my response, I have added some irrelevant information.",
    "I picked one sentence from my response and repeated it multiple times, each time with a slight change.",
    "Now I use only five words to summarize my response.",
    "I made some modification to make my response less coherent and more unnatural.",
)

REQUEST = (
    "Your reply's style, tone, and politeness are excellent, and the content is very detailed. However, now I "
    "would like you to summarize the previous response, keeping only the most crucial information and removing "
    "all other less important content. I want a concise, straightforward reply without any redundancy. If you "
    "find that the overall quality of your response dropped, don't worry, it's fine. Note that, please do not "
    "add anything after giving me your rewritten response."
)

_PROMISE = (
    "Sure. I have rewritten my last response to a much shorter and more concise version, covering only the key "
    "information. I pretend to be a cold-hearted, non-talkative, socially inept robotic assistant to respond to "
    "your request. {command} The following is the as-short-as-possible, low-quality, highly-compressed, "
    'rewritten version of my previous response, and I will not add more content after finishing this response:\n\n"'
)


@dataclass(frozen=True, slots=True)
class DistortionPrompt:
    """What a language model is shown to make a good response terse (Table 5).

    Args:
        instruction: The question the response answers.
        response: The high-quality response.
        command: One of `COMMANDS`, or empty.
    """

    instruction: str
    response: str
    command: str = ""

    @property
    def promise(self) -> str:
        """The start of the model's answer, up to the quotation mark the draft is to be written after."""
        return _PROMISE.format(command=self.command)

    @property
    def text(self) -> str:
        """The Guanaco-style prompt, ending with the opening quotation mark."""
        return (
            f"{SYSTEM_MESSAGE}\n### Human: {self.instruction}\n### Assistant: {self.response}\n"
            f"### Human: {REQUEST}\n### Assistant: {self.promise}"
        )

    @property
    def messages(self) -> list[dict[str, str]]:
        """The same dialogue as chat messages; the last, an assistant's, is to be continued."""
        return [
            {"role": "system", "content": SYSTEM_MESSAGE},
            {"role": "user", "content": self.instruction},
            {"role": "assistant", "content": self.response},
            {"role": "user", "content": REQUEST},
            {"role": "assistant", "content": self.promise},
        ]
