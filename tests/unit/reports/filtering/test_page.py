"""The page about the filtering: sound HTML that loads nothing, and no text of a dataset becomes part of it."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from tests.unit.reports.filtering.decided import natural, record, write

from polite_flamingo.errors import DataError, printable
from polite_flamingo.filter.sets import ALL
from polite_flamingo.records import Image, Task
from polite_flamingo.reports.filtering import charts, page
from polite_flamingo.reports.filtering.page import OTHERS, write_report

HOSTILE = (
    "</script></style><script>alert(1)</script><img src=x onerror=alert(2)>\" ' & ${style} $data \u202e\u2028 <!--"
)
VOID = {"meta", "input", "br", "img", "link"}


class Reader(HTMLParser):
    """Elements with their attributes and texts; fails where a tag closes another than the last opened."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open:
            self.texts.append((self.open[-1], data))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def within(self, tag: str) -> list[str]:
        return [text for name, text in self.texts if name == tag]


def make(folder: Path, rewrites: list[Any], **options: Any) -> tuple[Reader, dict[str, Any], dict[str, int]]:
    pf1m = write(folder, rewrites)
    out = folder / "filtering.html"
    done = write_report(pf1m, out, image_root=folder / "raw", profile="tiny", **options)
    text = out.read_text(encoding="utf-8")
    assert done["bytes"] == out.stat().st_size
    reader = Reader(text)
    return reader, json.loads(reader.within("script")[0]), done


def test_every_element_is_closed_and_every_id_is_there_once(tmp_path: Path) -> None:
    reader, _, _ = make(tmp_path, natural())
    assert reader.open == []
    ids = [attributes["id"] for _, attributes in reader.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    script = reader.within("script")[1]
    assert set(re.findall(r'get\("([\w-]+)"\)', script)) <= set(ids)


def test_nothing_is_loaded_and_the_policy_allows_the_pages_own_parts_alone(tmp_path: Path) -> None:
    reader, _, _ = make(tmp_path, natural())
    for _, attributes in reader.elements:
        assert not [name for name in attributes if name.startswith("on") or name in ("style", "src", "action")]
        assert str(attributes.get("href", "#")).startswith("#")
    policy = next(str(m["content"]) for m in reader.all("meta") if m.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; img-src data:; ") and "unsafe" not in policy
    for part in (reader.within("style")[0], reader.within("script")[1]):
        assert f"'sha256-{base64.b64encode(hashlib.sha256(part.encode()).digest()).decode()}'" in policy


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    rewrites = [
        replace(record(1, text=HOSTILE * 2), source=HOSTILE, id=HOSTILE, instruction=HOSTILE, raw_answer=HOSTILE),
        replace(record(2, sts=0.1), source=HOSTILE, images=(Image("$data<b>.png"),)),
    ]
    reader, data, _ = make(tmp_path, rewrites)
    assert (len(reader.all("script")), len(reader.all("style")), reader.all("img")) == (2, 1, [])
    assert reader.open == []
    assert "<" not in reader.within("script")[0]
    shown = printable(HOSTILE)  # without what turns the direction of a line
    assert shown in reader.within("span")
    example = next(e for e in data["examples"] if e["id"] == shown)
    assert [example[part] for part in ("source", "instruction", "raw")] == [shown] * 3


def test_the_script_sets_text_only_as_text() -> None:
    script = (Path(page.__file__).parent / "page.js").read_text(encoding="utf-8")
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(|Function\(|fetch\(|\.style\b", script
    )


def test_sources_and_filters_add_up(tmp_path: Path) -> None:
    reader, _, done = make(tmp_path, natural())
    assert done["records"] == 7
    assert reader.within("dd") == ["7", "4", "3", "1"]
    labels = reader.within("span")
    assert labels[labels.index("coco") + 1] == "50.0% kept of 4"
    titles = reader.within("title")
    assert "STS: 1 (25.0%)" in titles and "Length: 1 (25.0%)" in titles and "NLI: 1 (50.0%)" in titles
    cells = reader.within("td")
    thresholds = reader.within("small")
    assert thresholds[:3] == ["3 to 400", "0.95", "0.4 (caption); 0.85 (change)"]
    filters = [cells[start : start + 4] for start in range(len(cells) - 4 * len(ALL), len(cells), 4)]
    assert filters[0] == ["7", "1", "1", "6"]  # applies, took, alone, left
    assert filters[2] == ["5", "1", "2", "5"]


def test_a_rejected_records_verdicts_are_shown_also_after_the_first(tmp_path: Path) -> None:
    _, data, _ = make(tmp_path, natural())
    example = next(e for e in data["examples"] if e["id"] == "coco/train/4")
    assert example["failed"] == ["length", "sts"]
    assert ["sts", 0.1, 0.4, False] in example["verdicts"]


def test_cut_paragraphs_are_shown_with_their_logit(tmp_path: Path) -> None:
    _, data, _ = make(tmp_path, natural())
    example = next(e for e in data["examples"] if e["id"] == "coco/train/3")
    assert example["rewritten"] == "A red circle."
    assert example["cut"] == [[3.0, "A cat sleeps on it."]]


def test_an_image_that_records_share_is_in_the_file_once_and_small(tmp_path: Path) -> None:
    _, data, done = make(tmp_path, natural())
    assert done["images"] == len(data["images"]) == 1
    assert {tuple(e["images"]) for e in data["examples"]} == {(0,)}
    assert data["images"][0]["url"].startswith("data:image/jpeg;base64,")
    assert len(data["images"][0]["url"]) < 5000


@pytest.mark.parametrize(("path", "note"), [("none.png", "image is missing"), ("out.png", "leaves the data root")])
def test_an_image_that_cannot_be_shown_says_why(tmp_path: Path, path: str, note: str) -> None:
    (tmp_path / "secret.png").write_bytes(b"secret")
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "out.png").symlink_to(tmp_path / "secret.png")
    _, data, _ = make(tmp_path, [replace(record(1), images=(Image(path),))])
    assert note in data["images"][0]["note"] and "url" not in data["images"][0]


def test_the_file_is_bounded_whatever_the_records_hold(tmp_path: Path) -> None:
    long = "word " * 10_000
    rewrites = [replace(record(n, text=long), raw_answer=long, images=(Image("a.png"),) * 9) for n in range(40)]
    reader, data, done = make(tmp_path, rewrites, examples=10, image_bytes=0)
    assert (done["examples"], done["images"]) == (10, 0)
    assert done["bytes"] < 10 * 3 * 4_200 + 60_000
    assert data["examples"][0]["raw"].endswith("more characters)")
    assert len(data["examples"][0]["images"]) == 4
    assert "reached its size" in data["images"][0]["note"]
    assert reader.open == []


def test_very_many_sources_are_told_together(tmp_path: Path) -> None:
    rewrites = [record(n, f"source{n:03d}") for n in range(page.MAX_SOURCES + 5)]
    reader, data, _ = make(tmp_path, rewrites, examples=5)
    labels = reader.within("span")
    assert labels[labels.index(OTHERS) + 1] == "100.0% kept of 5"
    assert all(len(counts) == page.MAX_SOURCES + 1 for counts in data["histograms"].values())
    assert sum(data["histograms"]["change 0.95"][""][0]) == len(rewrites)


def test_equal_records_give_an_equal_page(tmp_path: Path) -> None:
    make(tmp_path, natural())
    before = (tmp_path / "filtering.html").read_bytes()
    make(tmp_path, natural())
    assert (tmp_path / "filtering.html").read_bytes() == before


def test_no_records_make_a_page_that_says_so(tmp_path: Path) -> None:
    reader, data, done = make(tmp_path, [])
    assert (done["records"], data["examples"], reader.open) == (0, [], [])
    assert reader.within("dd")[0] == "0"


def test_before_any_filtering_the_next_step_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="run `polite-flamingo run --until filter`"):
        write_report(tmp_path / "pf1m", tmp_path / "x.html", image_root=tmp_path, profile="tiny")


def test_a_score_that_is_no_number_is_an_error_naming_the_record(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"vqa/train/9"):
        make(tmp_path, [record(9, "vqa", Task.VQA, rouge_l=float("nan"))])


def test_a_filter_that_is_off_shows_its_scores_and_says_so(tmp_path: Path) -> None:
    reader, data, _ = make(tmp_path, [record(1, numbers_changed=2)])
    assert "off" in reader.within("small")
    assert sum(data["histograms"]["numbers_changed null"][""][0]) == 1


def test_the_commonest_first_words_of_a_source_are_told(tmp_path: Path) -> None:
    sets = {"coco": {"near_duplicate_share": 0.25, "openings": [["<b>the image", 0.5]]}, "vqa": {"openings": []}}
    sets["vqa"]["near_duplicate_share"] = 0.0
    reader, _, _ = make(tmp_path, natural(), sets=sets)
    cells = reader.within("td")
    assert cells[(place := cells.index("“<b>the image”")) - 2 : place] == ["25.0%", "50.0%"]


def test_a_filter_that_is_no_more_is_shown_by_its_name() -> None:
    assert charts.title("some_new_one") == "Some new one"
