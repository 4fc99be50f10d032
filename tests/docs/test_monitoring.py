"""The dashboard and the alerts: they parse, they name only metrics and labels that a router has, and the page names them."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import trio
import yaml
from prometheus_client.parser import text_string_to_metric_families

from resroute.cli.serving import serve
from resroute.router import Router
from resroute.settings import Settings
from tests.docs.running import DOCS

DASHBOARD = DOCS / "grafana" / "resroute.json"
ALERTS = DOCS / "alerts.yml"
CASES = Path(__file__).parent / "alert_cases.yml"

BY_PROMETHEUS = {"job", "instance"}
"""Labels that each series gets when it is scraped."""

_ROW = re.compile(r"^\| `(?P<name>resroute_\w+)` \| (?P<kind>\w+) \| (?P<labels>[^|]*) \|", re.MULTILINE)
_ALERT = re.compile(r"^\| `(Resroute\w+)` \|", re.MULTILINE)
_VARIABLES = {"$__rate_interval": "5m", "$instance": "router:8766"}


def panels() -> Iterator[dict[str, Any]]:
    document = json.loads(DASHBOARD.read_text())
    yield from document["panels"]


def queries() -> Mapping[str, str]:
    """Every query of the dashboard, by where it stands, with values for Grafana's variables."""
    found = {}
    for panel in panels():
        for target in panel.get("targets", ()):
            query = target["expr"]
            for name, value in _VARIABLES.items():
                query = query.replace(name, value)
            found[f"{panel['title']} {target['refId']}"] = query
    return found


def alerts() -> Mapping[str, dict[str, Any]]:
    [group] = yaml.safe_load(ALERTS.read_text())["groups"]
    return {rule["alert"]: rule for rule in group["rules"]}


EXPRESSIONS = {**queries(), **{name: rule["expr"] for name, rule in alerts().items()}}


def documented_labels() -> Mapping[str, set[str]]:
    """Metric -> its labels, as the page has them, which another test holds against the code."""
    page = (DOCS / "monitoring.md").read_text()
    found: dict[str, set[str]] = {}
    for row in _ROW.finditer(page):
        labels = set(re.findall(r"`(\w+)`", row["labels"]))
        name = row["name"]
        if row["kind"] == "histogram":
            found |= {f"{name}_count": labels, f"{name}_sum": labels, f"{name}_bucket": labels | {"le"}}
        else:
            found[name] = labels
    return found


class Names:
    """The metrics that an expression reads, and the labels that it speaks of."""

    def __init__(self, expression: str) -> None:
        self.metrics: set[str] = set()
        self.labels: set[str] = set()
        promql_parser.walk(promql_parser.parse(expression), self._visit)

    def _visit(self, node: promql_parser.Expr) -> None:
        if isinstance(node, promql_parser.VectorSelector):
            assert node.name is not None
            self.metrics.add(node.name)
            self.labels |= {matcher.name for matcher in node.matchers.matchers}
        elif isinstance(node, promql_parser.AggregateExpr) and node.modifier is not None:
            self.labels |= set(node.modifier.labels)


@pytest.fixture
async def exported(nursery: trio.Nursery) -> set[str]:
    """What a running router exports, as series are called."""
    at = await nursery.start(serve, Router(Settings(port=0, admin_port=0)))
    port = int(at.admin_url.rstrip("/").rpartition(":")[2])
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        answer = b"".join([chunk async for chunk in stream])
    names = {"up"}  # Prometheus makes that one itself
    for family in text_string_to_metric_families(answer.partition(b"\r\n\r\n")[2].decode()):
        if family.type == "histogram":
            names |= {f"{family.name}{suffix}" for suffix in ("_count", "_sum", "_bucket")}
        else:
            names.add(f"{family.name}_total" if family.type == "counter" else family.name)
    return names


async def test_every_metric_of_the_dashboard_and_the_alerts_is_exported(exported: set[str]) -> None:
    assert "resroute_calls_total" in exported
    missing = {where: Names(query).metrics - exported for where, query in EXPRESSIONS.items()}
    assert {where: names for where, names in missing.items() if names} == {}


async def test_the_page_names_what_is_exported(exported: set[str]) -> None:
    ours = {name for name in exported if name.startswith("resroute_")}
    assert set(documented_labels()) == ours


@pytest.mark.parametrize("where", EXPRESSIONS)
def test_labels_are_those_of_the_metrics(where: str) -> None:
    names = Names(EXPRESSIONS[where])
    documented = documented_labels()
    known = set(BY_PROMETHEUS)
    for metric in names.metrics:
        known |= documented.get(metric, set())
    assert names.labels <= known


@pytest.mark.parametrize("title", [panel["title"] for panel in panels() if panel["type"] != "row"])
def test_what_a_legend_names_is_a_label_of_its_lines(title: str) -> None:
    [panel] = [panel for panel in panels() if panel["title"] == title]
    for target in panel["targets"]:
        in_legend = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
        query = queries()[f"{title} {target['refId']}"]
        grouped = re.findall(r" by \(([^)]*)\)", query)
        kept = set(re.split(r",\s*", grouped[-1])) if grouped else BY_PROMETHEUS
        assert in_legend <= kept, query


def test_panels_stand_beside_each_other() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
    numbers = [panel["id"] for panel in panels()]
    assert len(set(numbers)) == len(numbers)


def test_the_dashboard_is_what_its_program_writes(tmp_path: Path) -> None:
    program = (DOCS / "dashboard.py").read_text()
    names: dict[str, Any] = {"__file__": str(tmp_path / "dashboard.py"), "__name__": "dashboard"}
    exec(compile(program, "dashboard.py", "exec"), names)
    assert names["dashboard"]() == DASHBOARD.read_text(), "run python docs/dashboard.py"


def test_the_page_says_what_to_do_about_each_alert() -> None:
    page = (DOCS / "monitoring.md").read_text()
    assert _ALERT.findall(page) == list(alerts())
    for name, rule in alerts().items():
        assert rule["labels"]["severity"] in ("critical", "warning")
        row = next(line for line in page.splitlines() if line.startswith(f"| `{name}`"))
        assert ("| critical: " in row) is (rule["labels"]["severity"] == "critical"), name


def test_each_alert_has_a_case_in_which_it_goes_off_and_one_in_which_it_does_not() -> None:
    goes_off: set[str] = set()
    stays_off: set[str] = set()
    for case in yaml.safe_load(CASES.read_text())["tests"]:
        for expected in case["alert_rule_test"]:
            (goes_off if expected.get("exp_alerts") else stays_off).add(expected["alertname"])
    assert goes_off == stays_off == set(alerts())


# --- with Prometheus' own tool ------------------------------------------------------------------------------------


def promtool(*arguments: str | Path) -> None:
    """Run Debian's ``promtool``."""
    program = shutil.which("promtool")
    if program is None:
        pytest.skip(
            "PROMTOOL IS MISSING: apt-get install prometheus, or put it on PATH, to have alerts tried out"
        )
    done = subprocess.run(
        [program, *map(str, arguments)], check=False, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_takes_the_rules_and_the_configuration() -> None:
    promtool("check", "rules", ALERTS)
    promtool("check", "config", DOCS / "prometheus.yml")


def test_promtool_takes_the_queries_of_the_dashboard(tmp_path: Path) -> None:
    rules = [{"record": f"query:{number}", "expr": query} for number, query in enumerate(queries().values())]
    path = tmp_path / "queries.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    promtool("check", "rules", path)


def test_alerts_go_off_when_they_should(tmp_path: Path) -> None:
    path = tmp_path / "cases.yml"
    path.write_text(CASES.read_text().replace("- RULES", f"- {ALERTS}"))
    promtool("test", "rules", path)
