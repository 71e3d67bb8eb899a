"""What a licence allows, as far as its text says so: of the annotations of one's own data, which no catalogue knows."""

from __future__ import annotations

import re

OPEN = {  # usual spelling, as a pattern -> the identifier that the Hugging Face hub knows, {} for the version
    r"cc[ -]?by[ -]sa[ -]?(\d\.\d)?": "cc-by-sa-{}",
    r"cc[ -]?by[ -]?(\d\.\d)?": "cc-by-{}",
    r"cc[ -]?0(?:[ -]?1\.0)?": "cc0-1.0",
    r"mit(?: licen[cs]e)?": "mit",
    r"apache(?: licen[cs]e)?[ -]?(?:v(?:ersion)? ?)?2(?:\.0)?": "apache-2.0",
    r"bsd[ -]2[ -]clause": "bsd-2-clause",
    r"bsd[ -]3[ -]clause": "bsd-3-clause",
    r"odc[ -]by(?:[ -]?1\.0)?": "odc-by",
    r"pddl(?:[ -]?1\.0)?": "pddl",
    r"cdla[ -]permissive[ -](\d\.\d)": "cdla-permissive-{}",
    r"public domain": "unlicense",
}
_CLOSED = re.compile(
    r"\bnc\b|non[ -]?commercial|\bno commercial|research only|research use|academic (?:use|research)|\bnd\b"
    r"|no ?derivatives|all rights reserved|proprietary"
)


def allows_commercial_use(licence: str) -> bool | None:
    """Whether a licence allows commercial use of what is made from the annotations; None: its text does not say.

    A licence without derivatives allows none, for a rewrite is one.
    """
    if hub_name(licence) is not None:
        return True
    return False if _CLOSED.search(licence.lower()) else None


def hub_name(licence: str) -> str | None:
    """The identifier of an open licence on the Hugging Face hub; None: it is none of `OPEN`, or says more."""
    text = " ".join(licence.lower().replace("_", "-").split()).rstrip(".")
    for pattern, name in OPEN.items():
        found = re.fullmatch(pattern, text)
        if found:
            version = next(iter(found.groups()), None)
            return name.format(version) if version else name.removesuffix("-{}")
    return None
