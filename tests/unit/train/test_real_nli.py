"""Reading real NLI files: aligned e-SNLI lines, the SICK table, and what is wrong with them."""

import gzip
from pathlib import Path

import pytest

from polite_flamingo.errors import DataError
from polite_flamingo.train.real_nli import read_pairs


def write(path: Path, text: str) -> None:
    with gzip.open(path, "wt") as file:
        file.write(text)


def esnli(folder: Path, labels: str = "neutral\nentailment\n") -> None:
    write(folder / "esnli_s1.dev.gz", "A man runs . \nA dog sleeps . \n")
    write(folder / "esnli_s2.dev.gz", "He is late . \nAn animal rests . \n")
    write(folder / "esnli_labels.dev.gz", labels)


def test_aligned_lines_become_pairs_with_labels_in_the_papers_order(tmp_path: Path) -> None:
    esnli(tmp_path)
    assert list(read_pairs(tmp_path)) == [
        ("A man runs .", "He is late .", 2),
        ("A dog sleeps .", "An animal rests .", 1),
    ]


def test_the_sick_table_is_read(tmp_path: Path) -> None:
    write(
        tmp_path / "SICK_train_trial.tsv.gz",
        'pair_ID\tsentence_A\tsentence_B\tentailment_label\n1\tA "dog" runs\tNo dog runs\tCONTRADICTION\n',
    )
    assert list(read_pairs(tmp_path)) == [('A "dog" runs', "No dog runs", 0)]


def test_an_unknown_label_names_file_and_line(tmp_path: Path) -> None:
    esnli(tmp_path, "neutral\nmaybe\n")
    with pytest.raises(DataError, match=r"esnli_labels\.dev\.gz:2"):
        list(read_pairs(tmp_path))


def test_an_empty_folder_says_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="SICK_train_trial"):
        list(read_pairs(tmp_path))
