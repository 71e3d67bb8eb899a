"""A deterministic terse-maker: rules that do what the paper asks of a language model, for machines without one.

It drops politeness, frames ("In the image, …") and function words and keeps the core of the answer, in one of several
styles of raw annotation: a bare answer, an answer with rationales, "place: answer", key words, a comma list, blunt
sentences. Then it carries out the drawn command. What it cannot do: paraphrase, or know which fact matters beyond what
question and answer share.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from polite_flamingo.distort.terse_commands import carry_out
from polite_flamingo.prompts.commands import DistortionPrompt

NUMBER_WORDS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
)  # fmt: skip
_FUNCTION = """
a an the this that these those it its it's they them their there here he she his her we you i your our my
is are was were be been being am has have had do does did can could may might will would shall should must
of in on at to for with from by as into onto over under about and or but so because since while which who whom
whose what where when how if then than very quite also just only both each such some any more most other another
not see find appears appear seems seem looks look located present visible answer due make makes like
"""
FUNCTION_WORDS = frozenset(_FUNCTION.split())
_PLACES = "in on at under over behind near beside between above below inside outside"
PLACES = frozenset(_PLACES.split())

_SPLIT = re.compile(r"(?<=[.!?])\s+|\n+")
_MARKDOWN = re.compile(r"^\s*(?:[-*•]|\d+[.)]|#+)\s+|[*_`]{1,3}", re.MULTILINE)
_POLITE = re.compile(
    r"""let\ me\ know | feel\ free | hope\ (this|that|it)\ | (happy|glad)\ to\ | if\ you\ (have|would|need|want|'d)\s
    | you're\ welcome | you\ are\ welcome | thank(s|\ you) | (any|other)\ (more\ |further\ )?questions | don't\ hesitate
    | is\ there\ anything | as\ an\ ai | i'd\ be | i\ would\ be | great\ question | good\ question | i'm\ sorry
    | i\ apologi[sz]e | please\ (note|let|tell|ask|share)""",
    re.IGNORECASE | re.VERBOSE,
)
_GREETING = r"(?:sure(?: thing)?|certainly|of course|absolutely|definitely|well|okay|hello|hi|great|indeed)\s*[,!.:]"
_OPENER = re.compile(rf"^{_GREETING}\s*(?=\S)", re.IGNORECASE)
_ONLY_GREETING = re.compile(rf"^{_GREETING}$", re.IGNORECASE)
_PICTURE = r"(?:image|picture|photo|photograph|scene|drawing|illustration)"
_FRAME = re.compile(
    rf"""^(?:
      (?:in|from|looking\ at|based\ on|within)\ (?:the|this)\ {_PICTURE},?\s+
    | (?:the|this)\ {_PICTURE}\ (?:shows|depicts|features|captures|displays|contains|presents|portrays|showcases)\s+
    | (?:in\ addition|additionally|furthermore|moreover|overall|finally|however|therefore|also),?\s+
    | (?:i|we|you)\ can\ (?:clearly\ |also\ )?(?:see|find)\ (?:that\ )?
    | it\ (?:seems|appears|looks\ like)\ (?:that\ )?
    )""",
    re.IGNORECASE | re.VERBOSE,
)
_TAIL = re.compile(rf"\s+(?:of|in|from|within)\ (?:the|this)\ (?:{_PICTURE}|background)\b[\s.!?]*$", re.IGNORECASE)
_COPULA = re.compile(r"\b(?:is|are|was|were|has|have|shows?)\b", re.IGNORECASE)
_CLAUSE = re.compile(r"[,;:]\s|\s(?:because|which|while|so|but|where|as|since)\s", re.IGNORECASE)
_VERDICT = re.compile(r"^(yes|no)\b[\s,.!:;]*", re.IGNORECASE)
_WORD = re.compile(r"[\w'-]+")
_COUNTING = re.compile(r"\bhow many\b|\bnumber of\b", re.IGNORECASE)
_MAX_ANSWER_WORDS = 8

Style = Callable[[str, Sequence[str], Random], str]


@dataclass(frozen=True, slots=True)
class TerseRules:
    """Completer of `llm_rewrite` that runs anywhere and always answers the same."""

    identity: str = "terse_rules"

    def complete(self, keys: Sequence[str], prompts: Sequence[DistortionPrompt], rngs: Sequence[Random]) -> list[str]:
        """Make each response terse in a style drawn from its own source of randomness; names play no part."""
        return [make_terse(p, rng) for p, rng in zip(prompts, rngs, strict=True)]


def make_terse(prompt: DistortionPrompt, rng: Random) -> str:
    """One terse draft of ``prompt.response``, with ``prompt.command`` carried out."""
    sentences = informative_sentences(prompt.response)
    styles: dict[Style, int]
    if "?" not in prompt.instruction:  # a request: what comes back is a description
        styles = {blunt: 45, comma_list: 30, key_words: 15, first_sentence: 10}
    elif len(sentences) > 2:
        styles = {blunt: 25, comma_list: 20, first_sentence: 15, with_reasons: 15, key_words: 10, bare_answer: 15}
    elif len(sentences) == 2:
        styles = {bare_answer: 40, with_reasons: 25, labelled: 10, key_words: 10, comma_list: 5, blunt: 10}
    else:
        styles = {bare_answer: 55, labelled: 15, key_words: 15, blunt: 15}
    style = rng.choices(list(styles), list(styles.values()))[0]
    draft = style(prompt.instruction, sentences, rng) or blunt(prompt.instruction, sentences, rng)
    if prompt.command:
        words = key_words(prompt.instruction, sentences, rng).split()
        answer = bare_answer(prompt.instruction, sentences, rng) or draft
        draft = carry_out(prompt.command, draft, answer=answer, sentences=sentences, words=words, rng=rng)
    return draft.strip() or sentences[0]


def informative_sentences(response: str) -> list[str]:
    """Sentences without politeness, formatting and frames; never empty for a non-empty response."""
    plain = _MARKDOWN.sub("", response)
    sentences = [s.strip() for s in _SPLIT.split(plain) if _WORD.search(s)]
    kept = [s for s in sentences if not _POLITE.search(s) and not _ONLY_GREETING.match(s)] or sentences
    return [_strip_frame(s) for s in kept] or [response.strip()]


def bare_answer(instruction: str, sentences: Sequence[str], rng: Random) -> str:
    """What the first sentence says beyond the question: "red", "3", "yes", "riding a bicycle"."""
    first = sentences[0]
    verdict = _VERDICT.match(first)
    if verdict:
        return verdict[1].lower()
    asked = _stems(instruction)
    core = _predicate(first)
    words = _WORD.findall(core)
    content = [i for i, w in enumerate(words) if _is_content(w)]
    new = [i for i in content if _stem(words[i]) not in asked] or content
    if _COUNTING.search(instruction):
        number = next((w.lower() for w in words if w.lower() in NUMBER_WORDS or w.isdigit()), None)
        if number is not None:
            return str(NUMBER_WORDS.index(number)) if number in NUMBER_WORDS and rng.random() < 0.6 else number
        if words and words[0].lower() == "no":
            return rng.choice(("0", "zero", "none"))
    if not new:
        return ""
    picked = words[new[0] : new[-1] + 1][:_MAX_ANSWER_WORDS]
    while picked and not _is_content(picked[-1]):
        picked.pop()
    return _vary(" ".join(picked), rng)


def with_reasons(instruction: str, sentences: Sequence[str], rng: Random) -> str:
    """Form ``Answer: red. The object in the top left is red.``, that of A-OKVQA's annotations in PF-1M."""
    answer = bare_answer(instruction, sentences, rng)
    reasons = " ".join(_VERDICT.sub("", s) or s for s in sentences[:3])
    return f"Answer: {answer.rstrip('.')}. {reasons}" if answer else ""


def labelled(instruction: str, sentences: Sequence[str], rng: Random) -> str:
    """Form ``object in top left: red``; empty where the sentence is not of the form subject - copula - predicate."""
    match = _COPULA.search(sentences[0])
    if not match or _VERDICT.match(sentences[0]):
        return ""
    subject = _drop_articles(sentences[0][: match.start()])
    subject = _TAIL.sub("", subject).strip(" ,")
    predicate = _drop_articles(_predicate(sentences[0]))
    if not any(_is_content(w) for w in subject.split()) or not predicate:
        return ""
    return f"{subject.lower()}: {predicate}"


def key_words(instruction: str, sentences: Sequence[str], rng: Random) -> str:
    """Content words of the first sentences, without the words between them."""
    words = [w for s in sentences[:2] for w in _WORD.findall(s) if _is_content(w)]
    return " ".join(w.lower() for w in words)


def comma_list(instruction: str, sentences: Sequence[str], rng: Random) -> str:
    """Short phrases, separated by commas."""
    phrases: list[str] = []
    for sentence in sentences:
        for part in re.split(r"[,;:.]\s*|\s(?:and|while|with|but|which)\s", sentence):
            words = [w for w in _WORD.findall(part) if _is_content(w) or w.lower() in PLACES]
            while words and words[0].lower() in PLACES and len(words) < 3:
                words.pop(0)
            phrase = " ".join(words).lower()
            if phrase and phrase not in phrases:
                phrases.append(phrase)
    return ", ".join(phrases)


def first_sentence(instruction: str, sentences: Sequence[str], rng: Random) -> str:
    """The first sentence, bluntly."""
    return _vary(_drop_articles(sentences[0].rstrip(".!")), rng)


def blunt(instruction: str, sentences: Sequence[str], rng: Random) -> str:
    """All informative sentences, one per line or in a row, as captions are written."""
    keep = max(1, len(sentences) - rng.randrange(2))
    lines = [_vary(s.rstrip(".!"), rng).rstrip(".") for s in sentences[:keep]]
    return rng.choice(("\n", ". ")).join(lines)


def _strip_frame(sentence: str) -> str:
    previous = None
    text = sentence
    while text != previous:
        previous = text
        for pattern in (_OPENER, _FRAME):
            shorter = pattern.sub("", text, count=1)
            if _WORD.search(shorter):
                text = shorter
    shorter = _TAIL.sub("", text)
    return shorter if len(_WORD.findall(shorter)) > 1 else text


def _predicate(sentence: str) -> str:
    match = _COPULA.search(sentence)
    rest = sentence[match.end() :] if match else sentence
    rest = _TAIL.sub("", rest.strip(" .!"))
    clause = _CLAUSE.split(rest, maxsplit=1)[0].strip()
    return clause if any(_is_content(w) for w in clause.split()) else rest


def _drop_articles(text: str) -> str:
    return re.sub(r"\b(?:the|a|an)\s+", "", text.strip(" .!"), flags=re.IGNORECASE)


def _vary(text: str, rng: Random) -> str:
    drawn = rng.random()
    if drawn < 0.65:
        return text.lower()
    if drawn < 0.8:
        return text[:1].upper() + text[1:]
    return text[:1].upper() + text[1:] + "."


def _is_content(word: str) -> bool:
    return word.lower() not in FUNCTION_WORDS


def _stem(word: str) -> str:
    lowered = word.lower()
    return lowered[:-1] if lowered.endswith("s") and len(lowered) > 3 else lowered


def _stems(text: str) -> set[str]:
    return {_stem(w) for w in _WORD.findall(text)}
