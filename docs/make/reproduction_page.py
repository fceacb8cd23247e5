"""The table of docs/reproduction.md, made from ``references/decisions.yaml``."""

from __future__ import annotations

from pathlib import Path

from methods_page import with_tables

from deflect.analysis.render import pipe_table
from deflect.config import DECISIONS, decisions
from deflect.settings.decisions import Choice, Decision

ROOT = Path(__file__).parents[2]


def list_of_decisions() -> str:
    """Every decision with its choice, its alternatives, its reason and its settings."""
    rows = []
    for name, found in decisions(ROOT / DECISIONS).items():
        others = [f"`{key}`: {choice.text}" for key, choice in found.alternatives.items()]
        instead = "; ".join(others) or f"not varied: {found.not_varied}"
        rows.append([f"`{name}`: {found.title}", found.choice.text, instead, found.why, found.confidence, _keys(found)])
    return pipe_table(["decision", "choice", "alternatives", "why", "confidence", "settings"], rows)


def _keys(decision: Decision) -> str:
    """The settings that the decision concerns."""
    choices = (decision.choice, *decision.alternatives.values())
    return ", ".join(dict.fromkeys(f"`{key}`" for choice in choices for key in _settings(choice)))


def _settings(choice: Choice) -> list[str]:
    return [*choice.settings, *(f"training.{key}" for key in choice.training)]


def reproduction_page() -> str:
    """docs/reproduction.md with its table made anew; the text around it is kept."""
    return with_tables(ROOT / "docs/reproduction.md", {"decisions": list_of_decisions})
