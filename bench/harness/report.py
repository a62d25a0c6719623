"""What was measured, as Markdown for people and JSON for programs."""

from __future__ import annotations

import dataclasses
from typing import Any, Dict, List, Optional

from .measure import Measured, Missing, Row


@dataclasses.dataclass
class Table:
    """Contestants measured in turns. Ratios are of medians, to the row named `beside`."""

    title: str
    rows: List[Row]
    beside: Optional[str] = None
    with_p95: bool = False
    with_p99: bool = False

    def median(self, name: str) -> Optional[float]:
        return next((row.median for row in self.rows if row.name == name and isinstance(row, Measured)), None)

    def ratio(self, name: str, to: Optional[str] = None) -> Optional[float]:
        """The median of one row over that of another; None where either is missing."""
        mine, others = self.median(name), self.median(to or self.beside or "")
        return None if mine is None or not others else mine / others


@dataclasses.dataclass
class Check:
    """One figure of ours beside its budget (docs/performance.md)."""

    what: str
    value: Optional[float]
    unit: str
    at_most: Optional[float] = None
    at_least: Optional[float] = None

    @property
    def met(self) -> Optional[bool]:
        if self.value is None:
            return None
        return (self.at_most is None or self.value <= self.at_most) and (
            self.at_least is None or self.value >= self.at_least
        )

    @property
    def budget(self) -> str:
        if self.at_most is not None:
            return f"≤ {number(self.at_most)} {self.unit}".strip()
        return f"≥ {number(self.at_least)} {self.unit}".strip()


@dataclasses.dataclass
class Section:
    name: str
    title: str
    tables: List[Table]
    checks: List[Check]
    notes: List[str]


def number(value: Optional[float]) -> str:
    """Three significant digits, thousands set apart."""
    if value is None:
        return "—"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def markdown(section: Section) -> str:
    parts = [f"## {section.title}"]
    parts += [_table(table) for table in section.tables]
    if section.checks:
        parts.append(
            _grid(
                ["budget", "measured", "limit", ""],
                [
                    [
                        check.what,
                        f"{number(check.value)} {check.unit}".strip() if check.value is not None else "not measured",
                        check.budget,
                        {True: "met", False: "**missed**", None: "**?**"}[check.met],
                    ]
                    for check in section.checks
                ],
            )
        )
    if section.notes:
        parts.append("\n".join(f"- {note}" for note in section.notes))
    return "\n\n".join(parts) + "\n"


def _table(table: Table) -> str:
    units = sorted({row.unit for row in table.rows if isinstance(row, Measured)})
    header = [f"{table.title} ({units[0]})" if len(units) == 1 else table.title, "median", "min – max"]
    header += (["p95"] if table.with_p95 else []) + (["p99"] if table.with_p99 else []) + ["n"]
    header += [f"× {table.beside}"] if table.beside else []
    lines = []
    reasons: Dict[str, List[str]] = {}
    for row in table.rows:
        if isinstance(row, Missing):
            lines.append([row.name, "not measured"] + [""] * (len(header) - 2))
            reasons.setdefault(row.reason, []).append(row.name)
            continue
        unit = f" {row.unit}" if len(units) > 1 else ""
        line = [row.name, number(row.median) + unit, f"{number(min(row.values))} – {number(max(row.values))}"]
        line += ([number(row.p95)] if table.with_p95 else []) + ([number(row.p99)] if table.with_p99 else []) + [str(len(row.values))]
        line += [number(table.ratio(row.name))] if table.beside else []
        lines.append(line)
    why = [f"Not measured: {', '.join(names)}: {reason}." for reason, names in reasons.items()]
    return "\n\n".join([_grid(header, lines), *why])


def _grid(header: List[str], rows: List[List[str]]) -> str:
    """A Markdown table that also lines up as plain text: words to the left, figures to the right."""
    cells = [header] + rows
    widths = [max(map(len, column)) for column in zip(*cells)]
    lines = ["| " + " | ".join(_pad(row, widths)) + " |" for row in cells]
    rule = ["-" * (width + 1) + (":" if column else "-") for column, width in enumerate(widths)]
    return "\n".join([lines[0], "|" + "|".join(rule) + "|", *lines[1:]])


def _pad(row: List[str], widths: List[int]) -> List[str]:
    return [cell.rjust(width) if column else cell.ljust(width) for column, (cell, width) in enumerate(zip(row, widths))]


def as_json(section: Section) -> Dict[str, Any]:
    return {
        "name": section.name,
        "title": section.title,
        "tables": [
            {
                "title": table.title,
                "beside": table.beside,
                "rows": [
                    {"name": row.name, "missing": row.reason}
                    if isinstance(row, Missing)
                    else {
                        "name": row.name,
                        "unit": row.unit,
                        "median": row.median,
                        "min": min(row.values),
                        "max": max(row.values),
                        "p95": row.p95,
                        "ratio": table.ratio(row.name) if table.beside else None,
                        "values": row.values,
                    }
                    for row in table.rows
                ],
            }
            for table in section.tables
        ],
        "checks": [
            {
                "what": check.what,
                "value": check.value,
                "unit": check.unit,
                "at_most": check.at_most,
                "at_least": check.at_least,
                "met": check.met,
            }
            for check in section.checks
        ],
        "notes": section.notes,
    }
