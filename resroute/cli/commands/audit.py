"""``resroute audit``."""

import os
from typing import TYPE_CHECKING, get_args

import click

from resroute.audit.records import Event
from resroute.cli.commands.options import TEXT, RouterChoice, admin_choice, is_from_command_line, json_option
from resroute.cli.exits import AUDIT_CODES, MISTAKE, epilog
from resroute.cli.output import complain
from resroute.core.commands import Cause

if TYPE_CHECKING:
    from resroute.cli.auditing import Form


def _time(_ctx: click.Context, _param: click.Parameter, text: str | None) -> str | None:
    from resroute.times import read_time

    if text is not None:
        try:
            read_time(text)
        except (ValueError, OverflowError) as mistake:
            raise click.BadParameter(f"{mistake}.") from mistake
    return text


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
@click.option("--cause", type=click.Choice(get_args(Cause)), help="Only what happened for this reason.")
@click.option("--limit", metavar="NUMBER", type=click.IntRange(min=1), help="Only so many, the newest.")
@json_option("Print JSON objects, one a line: one for each resource of each record.")
@click.option("--csv", "as_csv", is_flag=True, help="Print the same as CSV, for spreadsheets.")
@click.option(
    "--data-dir",
    metavar="FOLDER",
    type=click.Path(),
    help="Read the file in this folder, the router's data_dir.  [default: that of the settings]",
)
@click.option(
    "--config",
    metavar="FILE",
    type=click.Path(),
    envvar="RESROUTE_CONFIG",
    show_envvar=True,
    help="Read settings from the [resroute] table of this TOML file.",
)
@admin_choice
def audit(
    since: str | None,
    until: str | None,
    resource_id: str | None,
    instance_id: str | None,
    actor: str | None,
    event: Event | None,
    cause: Cause | None,
    limit: int | None,
    as_json: bool,
    as_csv: bool,
    data_dir: str | None,
    config: str | None,
    choice: RouterChoice,
) -> int:
    """Show what was taken by force, cleaned up, expired, or done by administrators, oldest first.

    It reads the file in the router's `data_dir`, whether the router runs or not, if the settings here name one. If they
    do not, or with --url or --profile, it asks a router at its admin API. A TIME is one such as 2026-11-26T09:30:00Z, a
    day such as 2026-11-26, or how long ago: 90s, 15m, 1h, 2d, 1w.

    \b
      resroute audit --since 1h
      resroute audit --resource doc:7
      resroute audit --event transferred --json | jq -r .resource_id
      resroute audit --profile production --since 2d --csv > audit.csv
    """
    if as_json and as_csv:
        raise click.UsageError("--json or --csv: not both.")
    if choice.was_made and (data_dir is not None or is_from_command_line("config")):
        raise click.UsageError("A file, or a router: not both.")

    from resroute.cli.remote.results import AuditFilters
    from resroute.cli.sources import SettingsMistake

    filters = AuditFilters(
        since=since,
        until=until,
        resource_id=resource_id,
        instance_id=instance_id,
        actor=actor,
        event=event,
        cause=cause,
    )
    form: Form = "json" if as_json else "csv" if as_csv else "table"
    try:
        folder = None if choice.was_made else _folder(data_dir, config)
    except SettingsMistake as mistake:
        complain(str(mistake))
        return MISTAKE
    if folder is not None:
        from resroute.cli.auditing import show_audit_log

        return show_audit_log(folder, filters, limit=limit, form=form)
    if config is not None and not choice.was_made:
        complain(f"there is no data_dir in {config}: give --data-dir, or the --url of the router's admin API")
        return MISTAKE

    from resroute.cli.auditing_remote import show_remote_audit_log
    from resroute.cli.interrupts import run

    url, token = choice.target()
    return run(
        lambda interruption: show_remote_audit_log(
            url, filters, interruption, limit=limit, form=form, token=token
        )
    )


def _folder(data_dir: str | None, config: str | None) -> str | None:
    """The data_dir of the settings here; None if they name none."""
    from resroute.cli.sources import load_settings

    given = {} if data_dir is None else {"data_dir": data_dir}
    return load_settings(options=given, environ=os.environ, config=config).settings.data_dir
