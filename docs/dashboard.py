"""Writes ``grafana/resroute.json``, the dashboard: ``python docs/dashboard.py``."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

DASHBOARD = Path(__file__).parent / "grafana" / "resroute.json"

_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
_HERE = 'instance=~"$instance"'  # the routers that are chosen
_WIDTH, _HEIGHT = 8, 7

type Queries = Mapping[str, str]
"""What a line is called, in Grafana's words -> what it shows."""


def _rate(name: str, by: str = "", where: str = "") -> str:
    matching = ",".join(filter(None, (_HERE, where)))
    grouping = f" by ({by})" if by else ""
    return f"sum{grouping} (rate({name}{{{matching}}}[$__rate_interval]))"


def _now(name: str) -> str:
    return f"sum ({name}{{{_HERE}}})"


def _quantile(share: float, name: str, by: str = "") -> str:
    return f"histogram_quantile({share}, {_rate(f'{name}_bucket', ','.join(filter(None, ('le', by))))})"


def _top(query: str) -> str:
    return f"topk(10, {query})"


# title -> unit, queries; a heading has neither
PANELS: Mapping[str, tuple[str, Queries] | None] = {
    "Calls": None,
    "Calls by outcome": ("reqps", {"{{outcome}}": _rate("resroute_calls_total", "outcome")}),
    "How long calls take": (
        "s",
        {
            "half of them": _quantile(0.5, "resroute_call_duration_seconds"),
            "99 %": _quantile(0.99, "resroute_call_duration_seconds"),
        },
    ),
    "Calls in flight": ("short", {"in flight": _now("resroute_calls_in_flight")}),
    "Calls by service (the 10 with most)": (
        "reqps",
        {"{{service_name}}": _top(_rate("resroute_service_calls_total", "service_name"))},
    ),
    "Calls that fail, by service (the 10 with most)": (
        "reqps",
        {
            "{{service_name}} {{outcome}}": _top(
                _rate("resroute_service_calls_total", "service_name, outcome", 'outcome!="ok"')
            )
        },
    ),
    "99 % of calls by service (the 10 slowest)": (
        "s",
        {"{{service_name}}": _top(_quantile(0.99, "resroute_service_call_duration_seconds", "service_name"))},
    ),
    "Lookups, by whether somebody was found": (
        "ops",
        {
            "found": _rate("resroute_resource_lookups_total", "", 'found="true"'),
            "nobody": _rate("resroute_resource_lookups_total", "", 'found="false"'),
        },
    ),
    "Answers and parts that nobody waited for": (
        "ops",
        {
            "answers": _rate("resroute_dropped_answers_total"),
            "parts": _rate("resroute_dropped_progress_total"),
        },
    ),
    "Ownership": None,
    "Resources, instances": (
        "short",
        {"resources": _now("resroute_resources"), "instances": _now("resroute_instances")},
    ),
    "Resources of an instance (the 10 with most)": (
        "short",
        {
            "{{service_name}} {{instance_id}}": _top(
                f"sum by (service_name, instance_id) (resroute_resources_per_instance{{{_HERE}}})"
            )
        },
    ),
    "Registrations by what became of them": (
        "ops",
        {"{{status}}": _rate("resroute_resource_registrations_total", "status")},
    ),
    "Releases by reason": ("ops", {"{{reason}}": _rate("resroute_resource_releases_total", "reason")}),
    "Transfers": (
        "ops",
        {
            "{{from_service}} → {{to_service}} {{status}}": _rate(
                "resroute_resource_transfers_total", "from_service, to_service, status"
            )
        },
    ),
    "Conflicts by service": (
        "ops",
        {"{{service_name}}": _top(_rate("resroute_resource_conflicts_total", "service_name"))},
    ),
    "Requests that the router answers itself": (
        "reqps",
        {"{{operation}} {{status}}": _top(_rate("resroute_operations_total", "operation, status"))},
    ),
    "99 % of these requests": (
        "s",
        {"{{operation}}": _quantile(0.99, "resroute_resource_operation_duration_seconds", "operation")},
    ),
    "Bulks, and 99 % of their batches": (
        "short",
        {
            "{{operation}} {{status}} a second": _rate(
                "resroute_resource_bulk_operations_total", "operation, status"
            ),
            "{{operation}}, seconds of a batch": _quantile(
                0.99, "resroute_resource_bulk_batch_duration_seconds", "operation"
            ),
        },
    ),
    "99 % of metadata by service": (
        "bytes",
        {"{{service_name}}": _top(_quantile(0.99, "resroute_resource_metadata_size_bytes", "service_name"))},
    ),
    "Waiting, watching, taken too often": (
        "short",
        {
            "registrations that wait": _now("resroute_waiters"),
            "watches": _now("resroute_watches"),
            "reports of flapping a second": _rate("resroute_flapping_reports_total"),
        },
    ),
    "Events to watches": (
        "ops",
        {
            "events": _rate("resroute_watch_events_total"),
            "lost watches": _rate("resroute_watches_lost_total"),
        },
    ),
    "The router": None,
    "Ready": ("short", {"{{instance}}": f"resroute_ready{{{_HERE}}}"}),
    "Sessions": (
        "short",
        {"open": _now("resroute_sessions"), "at most": _now("resroute_max_sessions")},
    ),
    "CPU (1 is a whole core, and all there is)": (
        "percentunit",
        {"{{instance}}": f"rate(process_cpu_seconds_total{{{_HERE}}}[$__rate_interval])"},
    ),
    "Memory": (
        "bytes",
        {
            "of the process": _now("process_resident_memory_bytes"),
            "of sessions": _now("resroute_memory_bytes"),
            "that sessions may take": _now("resroute_max_memory_bytes"),
            "waits to be sent": _now("resroute_outbox_bytes"),
        },
    ),
    "How late the loop is": (
        "s",
        {
            "99 %": _quantile(0.99, "resroute_loop_lag_seconds"),
            "90 %": _quantile(0.9, "resroute_loop_lag_seconds"),
        },
    ),
    "Garbage collection, share of the time": (
        "percentunit",
        {"generation {{generation}}": _rate("resroute_garbage_collection_seconds_sum", "generation")},
    ),
    "Heartbeats there and back": (
        "s",
        {
            "half of them": _quantile(0.5, "resroute_heartbeat_round_trip_seconds"),
            "99 %": _quantile(0.99, "resroute_heartbeat_round_trip_seconds"),
        },
    ),
    "Audit log": (
        "short",
        {
            "records a second": _rate("resroute_audit_records_total"),
            "lost a second": _rate("resroute_audit_dropped_total"),
            "waits to be written": _now("resroute_audit_queued"),
            "cannot be written": _now("resroute_audit_failing"),
        },
    ),
    "Spans of traces": ("ops", {"{{outcome}}": _rate("resroute_spans_total", "outcome")}),
    "Versions": ("short", {"{{version}}": f"count by (version) (resroute_build_info{{{_HERE}}})"}),
}


def _panels() -> list[dict[str, Any]]:
    panels: list[dict[str, Any]] = []
    x = y = 0
    for number, (title, shown) in enumerate(PANELS.items(), 1):
        if shown is None:
            y += _HEIGHT if x else 0
            panels.append(
                {"id": number, "type": "row", "title": title, "collapsed": False, "panels": []}
                | {"gridPos": {"x": 0, "y": y, "w": 24, "h": 1}}
            )
            x, y = 0, y + 1
            continue
        unit, queries = shown
        targets = [
            {"refId": chr(ord("A") + place), "expr": expr, "legendFormat": legend, "datasource": _SOURCE}
            for place, (legend, expr) in enumerate(queries.items())
        ]
        panels.append(
            {
                "id": number,
                "type": "timeseries",
                "title": title,
                "datasource": _SOURCE,
                "gridPos": {"x": x, "y": y, "w": _WIDTH, "h": _HEIGHT},
                "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
                "options": {"legend": {"displayMode": "list", "placement": "bottom"}},
                "targets": targets,
            }
        )
        x += _WIDTH
        if x == 24:
            x, y = 0, y + _HEIGHT
    return panels


def dashboard() -> str:
    """The dashboard, as Grafana imports it."""
    variables = [
        {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"},
        {
            "name": "instance",
            "label": "Router",
            "type": "query",
            "datasource": _SOURCE,
            "query": "label_values(resroute_sessions, instance)",
            "refresh": 2,
            "includeAll": True,
            "multi": True,
            "current": {"text": "All", "value": "$__all"},
        },
    ]
    document = {
        "uid": "resroute",
        "title": "resroute",
        "tags": ["resroute"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": variables},
        "panels": _panels(),
    }
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    DASHBOARD.parent.mkdir(exist_ok=True)
    DASHBOARD.write_text(dashboard())
