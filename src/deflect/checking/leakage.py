"""Checks for what the splits share: near-duplicates, copies, and images of the same place."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from itertools import combinations

from deflect.checking.facts import Facts
from deflect.checking.finding import Finding, NotChecked, images, listed
from deflect.checking.labels import IMAGES

REMOVE = "Remove them from one of the splits, or keep what belongs together in one split."


def near_duplicates(facts: Facts) -> Iterator[Finding]:
    for first, second in combinations(facts.splits, 2):
        found = [pair for pair in facts.pairs if (pair.first, pair.second) == (first, second)]
        if found:
            names = [facts.splits[s].split.ids[r] for s, r in ((second, found[0].other), (first, found[0].row))]
            exact = sum(pair.exact for pair in found)
            yield Finding(
                f"Nearly the same as an image of {first}: {images(len(found))} of {second}, {exact} of them exact "
                f"copies, e.g. {names[0]} and {names[1]}.",
                f"Scores of {second} are too high by what was seen before. {REMOVE}",
            )


def copies(facts: Facts) -> Iterator[Finding]:
    """Copies within a split, and those with another label."""
    for name, split in facts.splits.items():
        groups = defaultdict(list)
        for place, digest in enumerate(split.digests):
            groups[digest].append(place)
        doubled = [group for group in groups.values() if len(group) > 1]
        if not doubled:
            continue
        example = listed([split.ids[place] for place in doubled[0][:2]])
        yield Finding(
            f"Exact copies within {name}: {images(sum(len(group) - 1 for group in doubled))}, e.g. {example}.",
            "Remove the copies, or keep them on purpose: they count more than once.",
        )
        if split.labels.kind == IMAGES:
            labels = split.split.labels[split.rows]
            torn = [group for group in doubled if len({int(labels[place]) for place in group}) > 1]
            if torn:
                titles = [facts.card.classes[labels[place]] for place in torn[0][:2]]
                yield Finding(
                    f"Copies in {name} with different labels: {len(torn)}, e.g. "
                    f"{listed([split.ids[place] for place in torn[0][:2]])} ({' and '.join(titles)}).",
                    "Decide which label is right and remove the other image.",
                )


def same_places(facts: Facts) -> Iterator[Finding]:
    if facts.places is None or not facts.places.found:
        raise NotChecked(facts.no_places or "no file says where it is")
    found = facts.places.meetings
    for meeting in found:
        if meeting.overlapping:
            yield Finding(
                f"On the same ground as an image of {meeting.first}: {images(meeting.overlapping)} of "
                f"{meeting.second}, e.g. {' and '.join(meeting.examples[0])}.",
                f"Scores of {meeting.second} are too high by what was seen before, also if the dates differ. {REMOVE}",
            )
    if touching := [meeting for meeting in found if meeting.touching]:
        counts = listed(f"{images(one.touching)} of {one.second} beside {one.first}" for one in touching)
        apart = next((one for one in touching if not one.overlapping), None)
        example = f", e.g. {' and '.join(apart.examples[0])}" if apart else ""
        yield Finding(
            f"Neighbours on the ground: {counts}{example}.",
            "Neighbours look alike, so scores are higher than on new places: if the model is meant for those, split by "
            "`block_km` or by region, and leave a gap.",
        )
