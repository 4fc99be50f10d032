"""``resroute audit``."""

import os
from typing import get_args

import click

from resroute.audit.records import Event
from resroute.cli.commands.options import TEXT, json_option
from resroute.cli.exits import AUDIT_CODES, MISTAKE, epilog
from resroute.cli.output import complain


def _time(_ctx: click.Context, _param: click.Parameter, text: str | None) -> float | None:
    from resroute.times import read_time

    if text is None:
        return None
    try:
        return read_time(text)
    except ValueError as mistake:
        raise click.BadParameter(f"{mistake}.") from mistake


@click.command(epilog=epilog(AUDIT_CODES), short_help="Show the audit log.")
@click.option(
    "--since", metavar="TIME", type=TEXT, callback=_time, help="Only what happened at that time or later."
)
@click.option("--until", metavar="TIME", type=TEXT, callback=_time, help="Only what happened before.")
@click.option("--resource", "resource_id", metavar="ID", type=TEXT, help="Only what is about this resource.")
@click.option(
    "--instance",
    "instance_id",
    metavar="ID",
    type=TEXT,
    help="Only what this instance asked for, gained or lost.",
)
@click.option("--actor", metavar="NAME", type=TEXT, help="Only what this subject or session asked for.")
@click.option("--event", type=click.Choice(get_args(Event)), help="Only events of this kind.")
@click.option("--limit", metavar="NUMBER", type=click.IntRange(min=1), help="Only so many, the newest.")
@json_option("Print JSON objects, one a line: one for each resource of each record.")
@click.option(
    "--data-dir", metavar="FOLDER", type=click.Path(), help="The router's data_dir, if no setting says it."
)
@click.option(
    "--config",
    metavar="FILE",
    type=click.Path(),
    envvar="RESROUTE_CONFIG",
    show_envvar=True,
    help="Read settings from the [resroute] table of this TOML file.",
)
def audit(
    since: float | None,
    until: float | None,
    resource_id: str | None,
    instance_id: str | None,
    actor: str | None,
    event: Event | None,
    limit: int | None,
    as_json: bool,
    data_dir: str | None,
    config: str | None,
) -> int:
    """Show what was taken by force, cleaned up, expired, or done by administrators, oldest first.

    It reads the file in the router's `data_dir`, whether the router runs or not. A TIME is one such as
    2026-11-26T09:30:00Z, a day such as 2026-11-26, or how long ago: 90s, 15m, 1h, 2d, 1w.

    \b
      resroute audit --since 1h
      resroute audit --resource doc:7
      resroute audit --event transferred --json | jq -r .resource_id
    """
    from resroute.audit.records import Filters
    from resroute.cli.auditing import show_audit_log
    from resroute.cli.sources import SettingsMistake, load_settings
    from resroute.ids import InstanceId, ResourceId

    given = {} if data_dir is None else {"data_dir": data_dir}
    try:
        folder = load_settings(options=given, environ=os.environ, config=config).settings.data_dir
    except SettingsMistake as mistake:
        complain(str(mistake))
        return MISTAKE
    if folder is None:
        complain(
            "there is no data_dir, so a router keeps its audit log in memory: give --data-dir or --config"
        )
        return MISTAKE
    filters = Filters(
        since=since,
        until=until,
        resource_id=None if resource_id is None else ResourceId(resource_id),
        instance_id=None if instance_id is None else InstanceId(instance_id),
        actor=actor,
        event=event,
    )
    return show_audit_log(folder, filters, limit=limit, as_json=as_json)
