"""What people said, as figures: models beside each other (Figure 11), judges beside people, kept and rejected rewrites.

An answer's label is the one that is agreed. Where people differ still, the label of each counts as a share of it, and
the report says of how many answers that is so. Ratios are drawn by sample: the answers of a sample stay together.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import Any

from polite_flamingo.evaluate.bootstrap import LEVEL, NOTHING, Interval, mean_over_sets
from polite_flamingo.study.agreement import cohen_kappas, kendall, krippendorff_alpha, rank_agreement, ranks
from polite_flamingo.study.forms import (
    CORRECT,
    FAILED,
    GROUNDED,
    LABEL,
    MATCHED,
    NO,
    POLITE,
    REWRITE_CRITERIA,
    RIGHT,
    YES,
)
from polite_flamingo.study.judgements import Standing
from polite_flamingo.study.pool import CUT, REWRITE
from polite_flamingo.study.records import StudyItem

Ratio = tuple[float, float]  # counted, out of
JUDGES = {"entailed": "NLI: entailment", "rouge_l": "Rouge-L"}
FIRST = 1


class StudyResults:
    """Figures of a study.

    Args:
        standing: What people said.
        resamples: Bootstrap resamples.
        seed: Seed.
    """

    def __init__(self, standing: Standing, resamples: int, seed: int) -> None:
        self._standing, self._items = standing, list(standing.items.values())
        self._draws = {"resamples": resamples, "seed": seed}
        self.models = list(dict.fromkeys(answer.model for item in self._items for answer in item.answers))
        self.models.sort()

    def shares(self, item: StudyItem, slot: int, criterion: str) -> dict[str, float]:
        """Option -> share of an answer's label; empty where nobody gave one."""
        if (label := self._standing.agreed(item.id, (slot, criterion))) is not None:
            return {label: 1.0}
        said = Counter(self._standing.said(item.id, (slot, criterion)).values())
        return {option: count / said.total() for option, count in said.items()}

    def agreement(self) -> dict[str, Any]:
        """How well people agree when each judges alone, by criterion, and on preference."""
        found: dict[str, Any] = {}
        for criterion in self._standing.form.criteria:
            ratings = self._alone(criterion.name)
            shared = [own for own in ratings.values() if len(own) > 1]
            kappas = cohen_kappas(ratings, **self._draws)
            found[criterion.name] = {
                "answers_of_several": len(shared),
                "equal": sum(len(set(own.values())) == 1 for own in shared),
                "alpha": krippendorff_alpha(ratings, **self._draws).to_json(),
                "kappa": {" and ".join(pair): kappa.to_json() for pair, kappa in kappas.items()},
            }
        if self._standing.ranking:
            found["preference_tau"] = rank_agreement(self._places(), **self._draws).to_json()
        return found

    def by_model(self) -> dict[str, Any]:
        """Figure 11: shares of labels, of answers that the judge finds entailed, and mean Rouge-L, of each model."""
        return {model: self._of_model(model, self._items) for model in self.models}

    def by_set(self) -> dict[str, dict[str, Any]]:
        """The share of matched answers of each model, by data set."""
        sets: dict[str, list[StudyItem]] = defaultdict(list)
        for item in self._items:
            sets[item.dataset].append(item)
        return {
            name: {model: self._of_model(model, own)[MATCHED] for model in self.models}
            for name, own in sorted(sets.items())
        }

    def orders(self, by_model: Mapping[str, Any]) -> dict[str, float | None]:
        """Kendall's tau of the models' order by people (matched) and by each judge; None where there is no order."""
        people = [by_model[model][MATCHED]["value"] for model in self.models]
        orders: dict[str, float | None] = {}
        for judge in JUDGES:
            values = [by_model[model][judge]["value"] for model in self.models]
            known = [(one, other) for one, other in zip(people, values, strict=True) if None not in (one, other)]
            tau = kendall(*zip(*known, strict=True)) if len(known) > 1 else None
            orders[judge] = None if tau is None else round(tau, 6)
        return orders

    def nli(self) -> dict[str, Any]:
        """The NLI judge as a detector of matched answers, and of those that are matched or correct."""
        report: dict[str, Any] = {}
        for name, right in ((MATCHED, {MATCHED}), ("matched_or_correct", {MATCHED, CORRECT})):
            precision: list[Ratio] = []
            recall: list[Ratio] = []
            for item in self._items:
                pairs = [
                    (bool(answer.scores["entailed"]), sum(own.get(option, 0.0) for option in right))
                    for slot, answer in enumerate(item.answers)
                    if "entailed" in answer.scores and (own := self.shares(item, slot, LABEL))
                ]
                hits = sum(share for entailed, share in pairs if entailed)
                precision.append((hits, sum(entailed for entailed, _ in pairs)))
                recall.append((hits, sum(share for _, share in pairs)))
            report[name] = {
                "precision": self._ratio(precision, f"{name}:precision"),
                "recall": self._ratio(recall, f"{name}:recall"),
            }
        return report

    def reward(self) -> dict[str, Any]:
        """The reward model beside people's places: pairs that they do not tie, and tau by sample."""
        pairs: list[Ratio] = []
        taus: list[Ratio] = []
        ties = 0
        for item, places in self._places().items():
            answers = self._standing.items[item].answers
            rewards = [float(one.scores["reward"]) for one in answers if one.scores.get("reward") is not None]
            if len(rewards) < len(answers):
                continue
            agreed, compared = 0.0, 0
            for own in places.values():
                order = ranks(own)
                for one, other in combinations(range(len(rewards)), 2):
                    if order[one] == order[other]:
                        ties += 1
                        continue
                    better, worse = (one, other) if order[one] < order[other] else (other, one)
                    agreed += _beats(rewards[better], rewards[worse])
                    compared += 1
                if (tau := kendall(tuple(-value for value in rewards), order)) is not None:
                    taus.append((tau, 1))
            pairs.append((agreed, compared))
        return {
            "pairs": int(sum(count for _, count in pairs)),
            "ties_left_out": ties,
            "accuracy": self._ratio(pairs, "reward:pairs"),
            "tau": self._ratio(taus, "reward:tau"),
        }

    def rewrites(self) -> dict[str, Any]:
        """Shares of right, polite and grounded rewrites among those kept and those rejected, and of all three.

        A sample counts as much as what its stratum stands for; the intervals are Wilson's of as many samples as the
        weights leave.
        """
        states: dict[str, list[StudyItem]] = defaultdict(list)
        for item in self._items:
            states[item.stratum.partition(" ")[0]].append(item)
        report: dict[str, Any] = {}
        for state, items in sorted(states.items()):
            slots = [(item, slot) for item in items for slot, a in enumerate(item.answers) if a.model == REWRITE]
            named = [*((name, (name,)) for name in REWRITE_CRITERIA), ("right_and_grounded", (RIGHT, GROUNDED))]
            named += [("all", (RIGHT, POLITE, GROUNDED))]
            report[state] = {name: wilson(self._yes(slots, wanted)).to_json() for name, wanted in named}
        return report

    def calibration_labels(self) -> tuple[list[tuple[str, str]], int]:
        """Rows for ``calibrate --labels``: id, and clean (right and grounded) or corrupted; and how many are left out.

        Left out is what is not agreed, what people cannot tell, and rewrites of which paragraphs were cut before people
        saw them: a label of what is left is none of the whole.
        """
        rows: list[tuple[str, str]] = []
        left = 0
        for item in self._items:
            for slot, answer in enumerate(item.answers):
                if answer.model != REWRITE:
                    continue
                said = {self._standing.agreed(item.id, (slot, name)) for name in (RIGHT, GROUNDED)}
                if answer.scores.get(CUT) or not (said == {YES} or NO in said):
                    left += 1
                else:
                    rows.append((item.id, "corrupted" if NO in said else "clean"))
        return sorted(rows), left

    def disagreements(self) -> list[dict[str, Any]]:
        """Answers that are matched for people and not entailed for the judge, or not matched and entailed.

        Those that people call failed and the judge entailed come first.
        """
        found = []
        for item in self._items:
            for slot, answer in enumerate(item.answers):
                label = self._standing.agreed(item.id, (slot, LABEL))
                entailed = answer.scores.get("entailed")
                if entailed is not None and label is not None and (label == MATCHED) is not bool(entailed):
                    found.append(
                        {
                            "id": item.id,
                            "model": answer.model,
                            "question": item.question,
                            "truth": item.truth,
                            "answer": answer.text,
                            "people": label,
                            "entailed": bool(entailed),
                            "images": list(item.images),
                        }
                    )
        return sorted(found, key=lambda one: one["people"] != FAILED)

    def undecided(self) -> dict[str, int]:
        """Answers on which people differ still, and those nobody labelled, by criterion."""
        counts = Counter({"differ": 0, "unlabelled": 0})
        for item in self._items:
            for slot, criterion in self._standing.keys(item.id):
                own = self.shares(item, slot, criterion)
                counts["differ"] += len(own) > 1
                counts["unlabelled"] += not own
        return dict(counts)

    def _of_model(self, model: str, items: Iterable[StudyItem]) -> dict[str, Any]:
        labels: dict[str, list[Ratio]] = {option: [] for option in self._standing.form.options(LABEL)}
        judged: dict[str, list[Ratio]] = {name: [] for name in (*JUDGES, "reward")}
        for item in items:
            for slot, answer in enumerate(item.answers):
                if answer.model != model or not (own := self.shares(item, slot, LABEL)):
                    continue
                for option, ratios in labels.items():
                    ratios.append((own.get(option, 0.0), 1))
                for name, ratios in judged.items():
                    if (score := answer.scores.get(name)) is not None:
                        ratios.append((float(score), 1))
        return {name: self._ratio(ratios, f"{model}:{name}") for name, ratios in {**labels, **judged}.items()}

    def _ratio(self, ratios: Sequence[Ratio], purpose: str) -> dict[str, Any]:
        known = [(counted / out_of, out_of) for counted, out_of in ratios if out_of > 0]
        if not known:
            return dict(NOTHING.to_json())
        values, weights = zip(*known, strict=True)
        interval = mean_over_sets({"": values}, weights={"": weights}, purpose=purpose, **self._draws)
        return dict(interval.to_json())

    def _yes(self, slots: Iterable[tuple[StudyItem, int]], criteria: Sequence[str]) -> list[tuple[float, float]]:
        """Share that is yes on all criteria, and weight, of every rewrite that was judged on all."""
        found = []
        for item, slot in slots:
            yes = [self.shares(item, slot, name) for name in criteria]
            if all(yes):
                found.append((min(own.get(YES, 0.0) for own in yes), item.weight))
        return found

    def _alone(self, criterion: str) -> dict[tuple[str, int], dict[str, str]]:
        ratings: dict[tuple[str, int], dict[str, str]] = defaultdict(dict)
        for item in self._items:
            for name in self._standing.judges[item.id]:
                for (slot, asked), label in self._standing.judgement(name, item.id, FIRST).labels.items():
                    if asked == criterion:
                        ratings[item.id, slot][name] = label
        return dict(ratings)

    def _places(self) -> dict[str, dict[str, list[list[int]]]]:
        """Complete rankings: sample -> annotator -> places."""
        found: dict[str, dict[str, list[list[int]]]] = defaultdict(dict)
        for item in self._items:
            for name in self._standing.judges[item.id]:
                places = self._standing.judgement(name, item.id, FIRST).places
                if len(item.answers) > 1 and sum(map(len, places)) == len(item.answers):
                    found[item.id][name] = places
        return dict(found)


def wilson(weighted: Sequence[tuple[float, float]]) -> Interval:
    """Weighted share with Wilson's interval of the effective number of samples; none is certain after a few.

    Args:
        weighted: Share (0 to 1) and weight of each sample.
    """
    from scipy.stats import binomtest

    if not weighted:
        return NOTHING
    total = sum(weight for _, weight in weighted)
    share = min(1.0, sum(own * weight for own, weight in weighted) / total)
    effective = max(1, round(total**2 / sum(weight**2 for _, weight in weighted)))
    interval = binomtest(round(share * effective), effective).proportion_ci(LEVEL, method="wilson")
    return Interval(share, min(share, float(interval.low)), max(share, float(interval.high)), len(weighted))


def _beats(one: float, other: float) -> float:
    return 0.5 if one == other else float(one > other)
