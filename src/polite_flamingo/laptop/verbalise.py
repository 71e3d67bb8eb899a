"""Short answers and captions as full sentences, by rule: what the rewriter learns to write where people wrote none.

The rules keep the answer's own words. Where none fits there is no sentence, and nothing is learned from that record.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from random import Random

from polite_flamingo.calibrate.statements import sentence

_NOT_DOING = (
    r"(?:some|any|no|every)?thing|(?:k|r|w|str|spr|sw)ing\b|ceiling|building|clothing|railing|painting|morning|evening"
)
_BE = "is|are|was|were"
_DO = "do|does|did"
_MODAL = "can|could|has|have|will|would|should"
_ALONE = {"this", "that", "it", "he", "she", "they", "these", "those", "there", "anyone", "someone", "everyone", "you"}
_POINTING = {"this", "that", "these", "those"}
_ARTICLES = {"a", "an", "the", "any", "some", "no", "one", "two", "three", "all", "both"}
_PLACES_TEXT = """
in on at near next behind under over with inside outside above below from for by between against beside to
around across along beneath underneath into onto through during without
"""
_PLACES = frozenset(_PLACES_TEXT.split())
_STATES_TEXT = """
all both currently likely probably really very too more still also mostly only not already open closed on off
red blue green black white yellow brown pink purple orange gray grey happy sad wet dry clean dirty old young
new hot cold safe full empty cloudy sunny clear tall short long small large big married alone asleep awake
ready able visible available bright dark healthy edible moving standing turned made dressed parked
"""
_STATES = frozenset(_STATES_TEXT.split())
_VERBS_TEXT = """
have look appear seem wear like need want contain match face belong live work play eat know enjoy use show cost
go come fit hold ride smell taste feel sit stand run see get take make require include say read allow own sell
serve exist think love lead open move touch share point cover agree drive walk represent tell start end turn
"""
_VERBS = frozenset(_VERBS_TEXT.split())
_FINITE_TEXT = """
is are was were has have had does do can will there's it's rides? stands? sits? holds? walks? plays? runs?
jumps? looks? wears? eats? flies fly lies lays? lie watches watch leans? swims? climbs? poses? pose skis?
surfs? throws? catches catch hits? swings? talks? smiles? carries carry shows? rests? hangs? takes? makes?
reads? drives? pulls? pushes push performs? waits? drinks? sleeps? crosses cross gets? goes go gives? fills?
covers? surrounds? chases? leaps? kicks? digs? bites? shakes? dances? sings? kneels? bends? turns? reaches
reach prepares? cuts? uses use travels? moves? sails? floats? grazes? graze roams? passes pass comes? enjoys?
works? tries try features? contains? approaches approach balances? glides? slides? races splashes dives?
licks? tosses waves laughs? stares? stare
"""
_FINITE = re.compile(rf"\b(?:{'|'.join(_FINITE_TEXT.split())})\b")
_LEAD = re.compile(
    r"^(?:(?P<one>an?|one)|(?P<many>two|three|four|five|six|several|many|some|a (?:group|couple|bunch) of)|the)\b", re.I
)
_WORD = re.compile(r"[a-z0-9']+")


def verbalise(question: str, answer: str) -> str | None:
    """A full sentence that answers `question` with the words of `answer`; None where no rule fits."""
    asked = " ".join(question.split()).strip().rstrip("?. ")
    answer = answer.strip().rstrip(".")
    if not asked or not answer or "?" in asked:
        return None
    if answer.lower() in ("yes", "no"):
        clause = _polar(asked, answer.lower() == "no")
        return None if clause is None else f"{answer.capitalize()}, {clause}."
    clause = _open(asked, answer)
    return None if clause is None else sentence(clause)


def preserved(answer: str, text: str) -> bool:
    """Whether the words and numbers of a short answer are in a text, and its yes or no is not turned round."""
    said, words = _WORD.findall(text.lower()), _WORD.findall(answer.lower())
    if words[:1] in (["yes"], ["no"], ["true"], ["false"]):
        other = {"yes": "no", "no": "yes", "true": "false", "false": "true"}[words[0]]
        agrees = said[:1] == words[:1] or (words[0] in said and said[:1] != [other])
        return agrees and all(word in said for word in words)
    return all(word in said for word in words)


def complete(text: str) -> bool:
    """Whether a text is one or more sentences: a capital, a closing mark, more than two words and a verb."""
    stripped = text.strip()
    starts = stripped[:1].isupper() or stripped[:1].isdigit() or stripped[:1] in "\"'"
    closed = stripped.endswith((".", "!", "?", '."', ".'"))
    return bool(starts and closed and len(stripped.split()) > 2)


def describe(captions: Sequence[str], rng: Random) -> str:
    """One to three sentences from human captions: the one that most agree with, and what others add."""
    words = [_content(caption) for caption in captions]
    agreed = [sum(len(a & b) / max(len(a | b), 1) for b in words) for a in words]
    first = max(range(len(captions)), key=lambda i: (agreed[i], -i))
    said, sentences = set(words[first]), [_stand_alone(captions[first], rng, first=True)]
    for _ in range(rng.choice((0, 1, 1, 2))):
        rest = [
            i for i in range(len(captions)) if len(words[i] - said) >= 3 and len(words[i] & said) <= len(words[i]) // 2
        ]
        more = [(len(words[i] - said), i) for i in rest if _LEAD.match(captions[i]) or _finite(captions[i])]
        if not more:
            break
        best = max(more)[1]
        said |= words[best]
        sentences.append(_stand_alone(captions[best], rng, first=False))
    return " ".join(sentences)


def _stand_alone(caption: str, rng: Random, *, first: bool) -> str:
    """A caption as a whole sentence: one with a verb as it is, a phrase after "The image shows"."""
    body = caption.rstrip(".")
    if _finite(body):
        return f"{body}."
    phrase = body[:1].lower() + body[1:] if body.split()[0].lower() != "i" else body
    lead = _LEAD.match(phrase)
    if not first and lead and lead["one"]:
        return f"There is {phrase}."
    if not first and lead and lead["many"]:
        return f"There are {phrase}."
    opening = (
        ("The image shows", "The picture shows", "In the image, we can see", "This image shows")
        if first
        else ("It also shows", "We can also see")
    )
    return f"{rng.choice(opening)} {phrase}."


def _finite(caption: str) -> bool:
    """Whether a caption has a finite verb; after one thing or person only a form in -s or an auxiliary is one."""
    lead = _LEAD.match(caption)
    found = _FINITE.findall(caption.lower())
    return (
        any(word.endswith("s") or word in ("had", "can", "will") for word in found)
        if lead and lead["one"]
        else bool(found)
    )


def _content(text: str) -> frozenset[str]:
    return frozenset(
        word
        for word in _WORD.findall(text.lower())
        if len(word) > 2 and word not in ("the", "and", "with", "are", "his", "her", "its", "there", "that", "this")
    )


def _polar(asked: str, negative: bool) -> str | None:
    first, *rest = asked.split()
    verb = first.lower()
    if not rest or not re.fullmatch(f"{_BE}|{_DO}|{_MODAL}", verb) or " or " in asked:
        return None
    subject = _subject(rest, verb)
    if subject is None:
        return None
    said = [word if i or word in ("I",) else word.lower() for i, word in enumerate(rest[:subject])]
    if said == ["you"]:
        said = ["we"]
        verb = {"are": "are", "do": "do"}.get(verb, verb)
    told = [word if negative or word.lower() != "any" else "some" for word in rest[subject:]]
    return " ".join([*said, verb, *(["not"] if negative else []), *told])


def _subject(words: Sequence[str], verb: str) -> int | None:
    """How many of the words are the subject; None where that cannot be told."""
    low = [word.lower() for word in words]
    if low[0] in _ALONE - _POINTING:
        return 1 if len(words) > 1 else None
    stops = _VERBS if re.fullmatch(f"{_DO}|{_MODAL}", verb) else None
    if low[0] in _POINTING and (len(low) > 1 and (low[1] in _ARTICLES | _PLACES or (stops and low[1] in stops))):
        return 1
    if low[0] in _POINTING and len(low) > 2 and low[1] in _STATES and low[2] == "and":
        return 1
    start = 1 if low[0] in _ARTICLES | _POINTING | {"his", "her", "their", "your", "its"} else 0
    for place in range(start + 1, len(low)):
        word = low[place]
        if stops is not None:
            if word in stops or (verb in ("has", "have") and word in ("been", "got")):
                return place
        elif (
            word in _PLACES | _STATES | _ARTICLES
            or (word.endswith("ing") and len(word) > 4)
            or re.fullmatch(r"\w{3,}ed", word)
        ):
            return place
    if stops is None and low[0] in _POINTING and verb in ("is", "was") and len(low) == 2:
        return 1
    if stops is None and start and len(low) == start + 2:
        return start + 1
    return None


def _open(asked: str, answer: str) -> str | None:
    low = asked.lower()
    if match := re.fullmatch(r"how many (.+?) (is|are|was|were) there(?: (.+))?", low):
        return f"{_counted(answer, match[1])}{' ' + match[3] if match[3] else ''}"
    if match := re.fullmatch(r"how many (.+?) (is|are|can|have|has) (.+)", low):
        if match[2] in ("is", "are") and match[3].split()[0] in _PLACES:
            return f"{_counted(answer, match[1])} {match[3]}"
        return f"{answer} {match[1]} {match[2]} {match[3]}"
    if match := re.fullmatch(r"what (is|are) (.+?) made (?:up )?(?:of|out of|from)", low):
        return f"{match[2]} {match[1]} made of {answer}"
    if match := re.fullmatch(r"what colou?rs? (is|are) (.+)", low):
        return f"{match[2]} {match[1]} {answer}"
    if match := re.fullmatch(
        rf"what (is|are) ((?:found |seen |placed |kept )?(?:{'|'.join(sorted(_PLACES))}) .+)", low
    ):
        return f"the {_joined(answer)} {'are' if _many(answer) else 'is'} {match[2]}"
    if match := re.fullmatch(rf"(?:what|who|which) (is|are) (.+?) (?!{_NOT_DOING})(\w{{2,}}ing)( .+)?", low):
        if match[3] == "doing":
            doing = any(word.endswith("ing") for word in answer.split())
            return f"{match[2]} {match[1]} {answer}{match[4] or ''}" if doing else None
        if (
            match[2].split()[0] in _ARTICLES | _POINTING | {"he", "she", "it", "they", "his", "her"}
            and " is " not in match[2]
        ):
            tail = match[4] or ""
            return (
                None if tail and tail.split()[-1] not in _PLACES else f"{match[2]} {match[1]} {match[3]}{tail} {answer}"
            )
    if match := re.fullmatch(r"(?:what|who|which) (is|are|was|were) (the .+|this|that|these|those|it|he|she)", low):
        if match[2].split()[-1] in _PLACES | {"of"}:
            return None
        return f"{match[2]} {match[1]} {answer}"
    if match := re.fullmatch(
        r"(?:what|which) (?:kind|type|sort|brand|breed) of (.+?) (is|are) (this|that|these|those|it|they|the .+)",
        low,
    ):
        return f"the kind of {match[1]} is {answer}"
    if match := re.fullmatch(
        rf"(?:what|which) (\w+(?: \w+)?) (is|are) (this|that|it|(?:{'|'.join(sorted(_PLACES))}) .+)", low
    ):
        tail = "" if match[3] in ("this", "that", "it") else f" {match[3]}"
        return f"the {match[1]}{tail} {match[2]} {answer}"
    if match := re.fullmatch(r"where (is|are) (.+)", low):
        if match[2].split()[-1] in ("taken", "located", "from", "located at"):
            return f"{match[2]} {match[1]} {answer}" if answer.split()[0] in _PLACES else None
        return f"{match[2]} {match[1]} {'' if answer.split()[0] in _PLACES else 'at the '}{answer}"
    if match := re.fullmatch(r"(?:what|who) (is|are) (\w{3,}ing .+)", low):
        return f"{_with_article(answer)} {match[1]} {match[2]}"
    return None


def _counted(answer: str, things: str) -> str:
    """That there are so many of some things."""
    if answer not in ("1", "one"):
        return f"there are {answer} {things}"
    one = {"people": "person", "men": "man", "women": "woman", "children": "child"}.get(things)
    return f"there is {answer} {one or re.sub(r'(?<=[^su])s$', '', things)}"


def _joined(answer: str) -> str:
    parts = [part.strip() for part in answer.split(",") if part.strip()]
    return answer if len(parts) < 2 else f"{', the '.join(parts[:-1])} and the {parts[-1]}"


def _many(answer: str) -> bool:
    return "," in answer or (answer.endswith("s") and not answer.endswith(("ss", "us")))


def _with_article(answer: str) -> str:
    first = answer.split()[0]
    return answer if first.lower() in _ARTICLES or not answer.islower() or first.isdigit() else f"the {answer}"
