"""Plans of tables under some settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from analysis.record.entry import Entry
from analysis.record.settings import Settings
from analysis.table.layout import Table
from analysis.table.resolved import resolve
from sweeps.planning.plan import Plan, make_plan


def plan_of(tables: Sequence[Table], settings: Settings, entries: Mapping[str, Entry], **options: Any) -> Plan:
    return make_plan([resolve(table, settings) for table in tables], entries, **options)
