"""``deflect plan``: what a study costs, before anything runs."""

from __future__ import annotations

import math
import os
import textwrap
import time
from argparse import Namespace
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from deflect.config import load
from deflect.data.disk import human
from deflect.progress import bar

if TYPE_CHECKING:
    from deflect.settings.study import Config, RunName, Study
    from deflect.training.hours import Estimate

WIDTH = 90
ASSUMPTIONS = (
    "A step of each cost class (layers, share trained) and a head of each task are timed alone, with random weights "
    "and images; a slow step with 2 images, on a CPU 4 blocks of the GFM. Not counted: reading data, start of a "
    "process, data preparation, pretraining, figures."
)


def plan(args: Namespace) -> None:
    import torch

    from deflect.training.context import choose_device
    from deflect.training.hours import Estimate
    from deflect.training.provenance import device_facts

    if args.threads:
        torch.set_num_threads(args.threads)
    config, device, began = load(args.config, args.study), choose_device("auto"), time.monotonic()
    with bar("timing", None, unit="models") as shown:

        def told(name: str) -> None:
            shown.set_description_str(f"timing {name}", refresh=False)
            shown.update()

        estimate = Estimate(config, device, told)
    facts = device_facts(device)
    threads = f", threads: {facts['threads']}" if device.type == "cpu" else ""
    print(f"study {config.study.name}, timed on {facts['name']}{threads} in {time.monotonic() - began:.0f} s\n")
    if (load1 := os.getloadavg()[0]) > 1.5 * (os.cpu_count() or 1):
        print(f"This machine is busy ({load1:.0f} processes on {os.cpu_count()} cores): times are too long.\n")
    for what, text in lines(config, estimate, args.devices):
        print(textwrap.fill(f"{what:<11}{text}", WIDTH, subsequent_indent=" " * 11))
    print(f"\n{hours_table(config, estimate)}\n\n{textwrap.fill(ASSUMPTIONS, WIDTH)}")


def lines(config: Config, estimate: Estimate, devices: int) -> Iterator[tuple[str, str]]:
    """What is needed and how much of it, line by line."""
    from deflect.training.needs import disk_needs, download_bytes, simulated_disk

    study, runs, costs, tried = config.study, estimate.runs, estimate.costs, trials(config.study, estimate.runs)
    parts = by_part(study, runs)
    yield "runs", f"{len(runs)}: " + ", ".join(f"{len(found)} {part}" for part, found in parts.items())
    if tried:
        yield "searches", f"{len(tried)} trainings for the settings of the tuned runs"
    if estimate.unknown:
        yield "left out", f"{', '.join(estimate.unknown)}: not prepared yet, so of unknown size"
    done, stale = finished(config, runs)
    older = f"; {stale} more are of other code, settings or data and train again" if stale else ""
    yield "done", f"{len(done)} of {len(runs)}{older}"
    n = [sum(card.splits[split]["n"] for card in estimate.cards.values()) for split in ("train", "val", "test")]
    passes = sum(estimate.cost(run).images for run in [*runs, *tried])
    yield "images", "{:,} to train on, {:,} to validate, {:,} to test; {:,} in all epochs".format(*n, passes)
    total, longest = seconds(estimate, [*runs, *tried]), max(cost.seconds for cost in costs.values())
    several = max(total / devices, longest)
    text = f"about {span(total)} on one such device, with {devices} about {span(several)}; longest run {span(longest)}"
    yield "time", text
    if done:
        left = seconds(estimate, [run for run in runs if run not in done])
        yield "left", f"about {span(left)} on one such device" + ", searches not counted" * bool(tried)
    if study.simulated:
        yield "disk", simulated_disk(config)
        weights = download_bytes(config)[1]
        yield "downloads", f"about {human(weights)} of weights" if weights else "none"
    else:
        disk = {what: size for what, size in disk_needs(config).items() if size}
        yield (
            "disk",
            f"{human(sum(disk.values()))}: " + ", ".join(f"{human(size)} {what}" for what, size in disk.items()),
        )
        data, weights = download_bytes(config)
        yield "downloads", f"at most {human(data)} of data, about {human(weights)} of weights"
    dataset, gfm, method = max(costs, key=lambda run: costs[run].memory)
    peak = human(costs[dataset, gfm, method].memory)
    yield "memory", f"{peak} in a step of the largest run ({dataset}, {gfm}, {method}), besides the program itself"
    if math.isnan(estimate.watts):
        yield "energy", "unknown: this device has no energy counter that can be read"
    else:
        kwh = _number(estimate.watts * total / 3.6e6)
        yield "energy", f"about {kwh} kWh, at {estimate.watts:.0f} W as measured while timing"
    yield "check", check(estimate, done)


def by_part(study: Study, runs: Iterable[RunName]) -> dict[str, list[RunName]]:
    """The runs of the main grid, and those of each purpose of additional runs."""
    names = {name: part for part, variants in study.parts().items() for name in variants}
    found: dict[str, list[RunName]] = {}
    for run in runs:
        found.setdefault(names.get(run.method, "main grid"), []).append(run)
    return found


def trials(study: Study, runs: Iterable[RunName]) -> list[RunName]:
    """The trainings of all searches, each as the tuned run that it is for."""
    tuned = [run for run in runs if run.method in study.tuned()]
    return [
        run for run in tuned if run.seed == tuned[0].seed for _ in range(study.tuning.trials if study.tuning else 0)
    ]


def finished(config: Config, runs: Iterable[RunName]) -> tuple[dict[RunName, dict], int]:
    """Records of the runs that would not be trained again, and the number of finished ones that would."""
    from deflect.errors import DeflectError
    from deflect.record import NAME, read_record
    from deflect.training.grid import fingerprint

    done, stale = {}, 0
    for run in runs:
        folder = config.study.run(*run)
        if not (folder / NAME).is_file():
            continue
        try:
            record = read_record(folder)
            current = record["fingerprint"] == fingerprint(config, run)
        except (DeflectError, OSError):  # damaged, or data or weights are no longer there
            current = False
        if current:
            done[run] = record
        stale += not current
    return done, stale


def check(estimate: Estimate, done: dict[RunName, dict]) -> str:
    """The estimate of the finished runs beside the time that they took on this device."""
    from deflect.training.provenance import device_facts

    here = device_facts(estimate.device)["name"]
    times = {run: record["time"] for run, record in done.items() if record["device"].get("name") == here}
    if not times:
        return "no finished run on this device yet with which to compare the estimate"
    took, expected = sum(t["train_s"] + t["test_s"] for t in times.values()), seconds(estimate, times)
    ratio = f"{expected / took:.2f} of what they took"
    return f"{len(times)} finished runs took {span(took)} here; their estimate is {span(expected)}, {ratio}"


def hours_table(config: Config, estimate: Estimate) -> str:
    """Hours by method (additional runs: by purpose) and GFM."""
    study = config.study
    rows: dict[str, list[RunName]] = {}
    for part, runs in by_part(study, estimate.runs).items():
        for run in runs:
            rows.setdefault(run.method if part == "main grid" else part, []).append(run)
    tried = trials(study, estimate.runs)
    rows |= {"searches": tried} if tried else {}
    rows["all"] = [*estimate.runs, *tried]
    table = [["hours", "runs", *study.gfms, "all GFMs"]]
    for name, runs in rows.items():
        columns = [[run for run in runs if run.gfm == gfm] for gfm in study.gfms]
        times = [_number(seconds(estimate, found) / 3600) if found else "-" for found in [*columns, runs]]
        table.append([name, str(len(runs)), *times])
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return "\n".join("  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in table)


def seconds(estimate: Estimate, runs: Iterable[RunName]) -> float:
    return sum(estimate.cost(run).seconds for run in runs)


def span(seconds: float) -> str:
    """A duration as text, e.g. 40 s, 12 min, 4.5 h."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{_number(seconds / 3600)} h"


def _number(value: float) -> str:
    """Three significant digits, e.g. 0.0123, 4.56, 12,300."""
    return f"{float(f'{value:.3g}'):,.0f}" if value >= 100 else f"{value:.3g}"
