"""Where settings come from, and what each mistake in them is answered with."""

from collections.abc import Mapping
from pathlib import Path

import attrs
import pytest

from resroute.cli.sources import SettingsMistake, load_settings
from resroute.settings import Heartbeat, InvalidSetting, Settings, is_loopback


def load(
    options: Mapping[str, str] | None = None,
    environ: Mapping[str, str] | None = None,
    config: Path | None = None,
) -> Settings:
    path = None if config is None else str(config)
    return load_settings(options=options or {}, environ=environ or {}, config=path).settings


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "router.toml"


def mistake(
    options: Mapping[str, str] | None = None,
    environ: Mapping[str, str] | None = None,
    config: Path | None = None,
) -> str:
    """The one line that the mistake is answered with; paths without their folder."""
    with pytest.raises(SettingsMistake) as caught:
        load(options, environ, config)
    line = str(caught.value)
    assert "\n" not in line
    return line if config is None else line.replace(str(config), config.name)


# --- precedence -------------------------------------------------------------------------------------------


def test_without_any_source_the_defaults_hold() -> None:
    assert load() == Settings()


def test_a_file_overrides_the_defaults(config: Path) -> None:
    config.write_text("""
        [resroute]
        port = 1111
        data_dir = "/var/lib/resroute"
        drain_seconds = 3
        allowed_origins = ["https://example.org", "http://localhost:3000"]
        anonymous_roles = ["caller"]
        [resroute.heartbeat]
        interval_seconds = 5
    """)
    assert load(config=config) == Settings(
        port=1111,
        data_dir="/var/lib/resroute",
        drain_seconds=3.0,
        allowed_origins=("https://example.org", "http://localhost:3000"),
        anonymous_roles=("caller",),
        heartbeat=Heartbeat(interval_seconds=5.0),
    )


def test_the_environment_overrides_the_file_and_options_override_both(config: Path) -> None:
    config.write_text("[resroute]\nport = 1\nadmin_port = 1\nmax_sessions = 1")
    environ = {"RESROUTE_PORT": "2", "RESROUTE_ADMIN_PORT": "2"}
    settings = load({"port": "3"}, environ, config)
    assert (settings.max_sessions, settings.admin_port, settings.port) == (1, 2, 3)


def test_nested_settings_and_lists_can_stand_in_the_environment() -> None:
    environ = {
        "RESROUTE_HEARTBEAT_INTERVAL_SECONDS": "2.5",
        "RESROUTE_ALLOWED_ORIGINS": "https://example.org, http://localhost:3000",
        "RESROUTE_ANONYMOUS_ROLES": "",
    }
    settings = load(environ=environ)
    assert settings.heartbeat == Heartbeat(interval_seconds=2.5)
    assert settings.allowed_origins == ("https://example.org", "http://localhost:3000")
    assert settings.anonymous_roles == ()


def test_the_parts_of_a_nested_table_may_come_from_different_sources(config: Path) -> None:
    config.write_text("[resroute.heartbeat]\ninterval_seconds = 30")
    settings = load(environ={"RESROUTE_HEARTBEAT_TIMEOUT_SECONDS": "60"}, config=config)
    assert settings.heartbeat == Heartbeat(interval_seconds=30.0, timeout_seconds=60.0)


def test_variables_that_name_no_setting_are_left_alone() -> None:
    assert (
        load(environ={"RESROUTE_URL": "ws://127.0.0.1:1/", "RESROUTE_PORTS": "x", "PORT": "x"}) == Settings()
    )


def test_an_empty_file_sets_nothing(config: Path) -> None:
    config.write_text("# nothing yet\n")
    assert load(config=config) == Settings()


def test_every_setting_can_be_set_by_a_variable_of_its_own() -> None:
    all_set = Settings(
        data_dir="/tmp",
        allowed_origins=("http://a",),
        admin_tokens=("ada:0123456789abcdef",),
        admin_tokens_file="/tokens",
        admin_tls_certificate_file="/certificate",
        admin_tls_key_file="/key",
        admin_trusted_proxies=("127.0.0.1", "2001:db8::/32"),
        traces_endpoint="http://a/v1/traces",
    )
    values = attrs.asdict(all_set)
    nested = {f"heartbeat_{name}": value for name, value in values.pop("heartbeat").items()}
    environ = {
        f"RESROUTE_{name.upper()}": ",".join(value) if isinstance(value, tuple) else str(value)
        for name, value in (values | nested).items()
    }
    assert load(environ=environ) == all_set


@pytest.mark.parametrize(("text", "value"), [("true", True), ("False", False), (" TRUE ", True)])
def test_a_switch_is_spelled_true_or_false(text: str, value: bool) -> None:
    assert load(environ={"RESROUTE_TRANSFER_ACROSS_SERVICES": text}).transfer_across_services is value


@pytest.mark.parametrize("text", ["yes", "1", ""])
def test_a_switch_is_spelled_in_no_other_way(text: str) -> None:
    with pytest.raises(SettingsMistake, match="transfer_across_services must be true or false"):
        load(environ={"RESROUTE_TRANSFER_ACROSS_SERVICES": text})


# --- mistakes ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("toml", "line"),
    [
        ("[resroute]\npotr = 1", "there is no setting potr; did you mean port? (from router.toml)"),
        (
            "[resroute]\nadmin-port = 1",
            "there is no setting admin-port; did you mean admin_port? (from router.toml)",
        ),
        ("[resroute]\nxyzzy = 1", "there is no setting xyzzy (from router.toml)"),
        (
            "[resroute.heartbeat]\ninterval = 1",
            "there is no setting heartbeat.interval; did you mean heartbeat.interval_seconds? "
            "(from router.toml)",
        ),
        (
            "[heartbeat]\ninterval_seconds = 1",
            "heartbeat is not in the table [resroute], where all settings go (from router.toml)",
        ),
        ("port = 1", "port is not in the table [resroute], where all settings go (from router.toml)"),
        (
            "resroute = 1",
            "resroute is not in the table [resroute], where all settings go (from router.toml)",
        ),
        ('[resroute]\nport = "1"', "port must be a whole number, not '1' (from router.toml)"),
        ("[resroute]\nport = true", "port must be a whole number, not True (from router.toml)"),
        ("[resroute]\nport = 1.0", "port must be a whole number, not 1.0 (from router.toml)"),
        ("[resroute]\ndrain_seconds = true", "drain_seconds must be a number, not True (from router.toml)"),
        ("[resroute]\nhost = 1", "host must be a string, not 1 (from router.toml)"),
        ("[resroute]\ndata_dir = 1", "data_dir must be a string, not 1 (from router.toml)"),
        (
            '[resroute]\nallowed_origins = "https://example.org"',
            "allowed_origins must be a list, each a string, not 'https://example.org' (from router.toml)",
        ),
        (
            '[resroute]\nanonymous_roles = ["root"]',
            "anonymous_roles must be a list, each one of caller, instance, admin, not ['root'] "
            "(from router.toml)",
        ),
        (
            '[resroute]\nlog_level = "loud"',
            "log_level must be one of debug, info, warning, error, not 'loud' (from router.toml)",
        ),
        ("[resroute]\nport = 70000", "port must be between 0 and 65535, not 70000 (from router.toml)"),
        (
            "[resroute]\nwrite_timeout_seconds = -1",
            "write_timeout_seconds must be more than 0, not -1 (from router.toml)",
        ),
        (
            "[resroute]\nprobe_timeout_seconds = nan",
            "probe_timeout_seconds must be more than 0, not nan (from router.toml)",
        ),
        ("[resroute]\ndrain_seconds = inf", "drain_seconds must be at least 0, not inf (from router.toml)"),
        (
            "[resroute.heartbeat]\ninterval_seconds = 0",
            "heartbeat.interval_seconds must be more than 0, not 0 (from router.toml)",
        ),
        ("[resroute]\nmax_sessions = 0", "max_sessions must be at least 1, not 0 (from router.toml)"),
        ('[resroute]\ndata_dir = " "', "data_dir must not be empty (from router.toml)"),
        (
            '[resroute]\nallowed_origins = ["https://example.org/"]',
            "allowed_origins must hold origins such as https://example.org, without a path, "
            "not 'https://example.org/' (from router.toml)",
        ),
        (
            "[resroute.heartbeat]\ninterval_seconds = 30",
            "heartbeat.timeout_seconds must be more than interval_seconds: 25.0 is not more than 30 "
            "(timeout_seconds is the default; interval_seconds from router.toml)",
        ),
        (
            "[resroute]\nmax_outbox_bytes = 9",
            "max_outbox_bytes must be at least outbox_soft_bytes: 9 is less than 1048576 "
            "(max_outbox_bytes from router.toml; outbox_soft_bytes is the default)",
        ),
        (
            "[resroute]\nmax_timeout_seconds = 5",
            "max_timeout_seconds must be at least default_timeout_seconds: 5 is less than 30.0 "
            "(max_timeout_seconds from router.toml; default_timeout_seconds is the default)",
        ),
        ("[resroute", "router.toml is not valid TOML: "),
    ],
)
def test_a_mistake_in_the_file_is_one_line_that_names_the_setting(config: Path, toml: str, line: str) -> None:
    config.write_text(toml)
    told = mistake(config=config)
    assert told == line or (line.endswith(": ") and told.startswith(line))


def test_a_file_that_is_not_utf_8_is_not_valid(config: Path) -> None:
    config.write_bytes(b"\xff")
    assert mistake(config=config).startswith("router.toml is not valid TOML: ")


def test_a_file_that_is_missing_is_told(config: Path) -> None:
    assert mistake(config=config) == "cannot read router.toml: No such file or directory"


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    assert mistake(config=tmp_path).endswith(": Is a directory")


@pytest.mark.parametrize("text", ["abc", "", "1.5", "0x10"])
def test_a_variable_that_spells_no_number_is_named(text: str) -> None:
    environ = {"RESROUTE_PORT": text}
    assert mistake(environ=environ) == f"port must be a whole number, not {text!r} (from RESROUTE_PORT)"


def test_a_value_out_of_bounds_names_its_variable() -> None:
    environ = {"RESROUTE_HEARTBEAT_TIMEOUT_SECONDS": "-1"}
    assert mistake(environ=environ) == (
        "heartbeat.timeout_seconds must be more than 0, not -1.0 (from RESROUTE_HEARTBEAT_TIMEOUT_SECONDS)"
    )


def test_a_value_out_of_bounds_names_its_option() -> None:
    assert mistake({"admin_port": "70000"}) == (
        "admin_port must be between 0 and 65535, not 70000 (from --admin-port)"
    )


def test_a_mistake_counts_even_where_something_else_overrides_it() -> None:
    assert mistake({"port": "1"}, {"RESROUTE_PORT": "x"}).endswith("(from RESROUTE_PORT)")


@pytest.mark.parametrize("name", ["host", "admin_host"])
@pytest.mark.parametrize("address", ["0.0.0.0", "::", "192.168.0.1", "example.org", "127.0.0.1.example.org"])
def test_without_authentication_only_loopback_will_do(name: str, address: str) -> None:
    option = name.replace("_", "-")
    assert mistake({name: address}) == (
        f"{name} must be a loopback address such as 127.0.0.1, not {address}: "
        f"without authentication the router listens on this machine only (from --{option})"
    )


@pytest.mark.parametrize(
    "options", [{"admin_tokens": "ada:0123456789abcdef"}, {"admin_tokens_file": "/etc/resroute.tokens"}]
)
def test_with_tokens_for_administrators_their_pages_may_be_anywhere(options: dict[str, str]) -> None:
    assert load({"admin_host": "0.0.0.0", **options}).admin_host == "0.0.0.0"
    assert "host must be a loopback address" in mistake({"host": "0.0.0.0", **options})


def test_a_mistake_shows_no_secret(config: Path) -> None:
    config.write_text('[resroute]\nadmin_tokens = "ada:0123456789abcdef"')
    assert mistake(config=config) == (
        "admin_tokens must be a list, each a string, not something else (from router.toml)"
    )
    config.write_text('[resroute]\nadmin_tokens = ["ada:0123456789abcdef", "secret"]')
    assert "secret" not in mistake(config=config)


# --- the settings themselves ------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["localhost", "LocalHost", "127.0.0.1", "127.1.2.3", "::1"])
def test_loopback_has_many_names(host: str) -> None:
    assert is_loopback(host)
    assert load({"host": host}).host == host


def test_a_certificate_without_its_key_names_both_settings() -> None:
    with pytest.raises(SettingsMistake) as caught:
        load(environ={"RESROUTE_ADMIN_TLS_CERTIFICATE_FILE": "/certificate"})
    assert str(caught.value) == (
        "admin_tls_key_file must be set, as admin_tls_certificate_file is (admin_tls_key_file is the default; "
        "admin_tls_certificate_file from RESROUTE_ADMIN_TLS_CERTIFICATE_FILE)"
    )


@pytest.mark.parametrize(
    "text", ["proxy.example", "10.0.0.1/8", "10.0.0.0/33", "*", "10.0.0.0/8:1", "2001:db8::/129"]
)
def test_proxies_are_addresses_and_networks(text: str) -> None:
    with pytest.raises(
        SettingsMistake, match="admin_trusted_proxies must hold addresses and networks such as"
    ):
        load(environ={"RESROUTE_ADMIN_TRUSTED_PROXIES": f"127.0.0.1,{text}"})


def test_settings_made_in_code_are_checked_too() -> None:
    with pytest.raises(InvalidSetting, match=r"^port must be between 0 and 65535, not -1$"):
        Settings(port=-1)
    with pytest.raises(InvalidSetting, match=r"^timeout_seconds must be more than interval_seconds"):
        Heartbeat(interval_seconds=1.0, timeout_seconds=1.0)


@pytest.mark.parametrize("url", ["127.0.0.1:4318", "grpc://127.0.0.1:4317", "http://", "http://a b/"])
def test_where_traces_go_is_a_url_of_http(url: str) -> None:
    with pytest.raises(SettingsMistake, match="traces_endpoint must be a URL such as"):
        load(environ={"RESROUTE_TRACES_ENDPOINT": url})


@pytest.mark.parametrize(
    "url", ["ada:pa55word@traces.example/", "htp://ada:pa55word@a/", "http://a b/?key=pa55word", "pa55word"]
)
def test_what_is_not_quite_a_url_may_hold_a_secret_all_the_same(url: str, config: Path) -> None:
    config.write_text(f'[resroute]\ntraces_endpoint = "{url}"\n')
    for given in ({"environ": {"RESROUTE_TRACES_ENDPOINT": url}}, {"config": config}):
        with pytest.raises(SettingsMistake) as caught:
            load(**given)
        assert "pa55word" not in str(caught.value)
    with pytest.raises(InvalidSetting) as invalid:
        Settings(traces_endpoint=url)
    assert "pa55word" not in str(invalid.value)
    assert "pa55word" not in repr(Settings(traces_endpoint="http://pa55word:pa55word@a/?pa55word"))


@pytest.mark.parametrize("share", ["-0.1", "1.1", "nan"])
def test_a_share_of_traces_is_between_none_and_all(share: str) -> None:
    with pytest.raises(SettingsMistake, match="traces_sample_ratio must be between 0 and 1"):
        load(environ={"RESROUTE_TRACES_SAMPLE_RATIO": share})
