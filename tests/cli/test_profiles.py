"""Profiles: which router a command talks to, and which token it shows."""

import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from resroute.cli import cli
from resroute.cli.exits import MISTAKE, NO_CONNECTION, REFUSED
from resroute.cli.profiles import MAX_TOKEN_BYTES, ProfileMistake, Target, choose_target, profile_names
from tests.cli.running import command, environment, run

TOKEN = "s3cr3t-t0ken"
NOWHERE = "ws://127.0.0.1:1/"


@pytest.fixture
def profiles(tmp_path: Path) -> Path:
    """A file of profiles, two of which show tokens."""
    path = tmp_path / "profiles.toml"
    path.write_text(
        '[default]\nurl = "ws://default/"\ntoken_file = "default.token"\n'
        '[production]\nurl = "wss://production/"\ntoken_file = "production.token"\n'
        '[plain]\nurl = "ws://plain/"\n'
        '[only-token]\ntoken_file = "production.token"\n'
    )
    write_token(tmp_path / "default.token", "of-default")
    write_token(tmp_path / "production.token", "of-production")
    return path


def write_token(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def choose(
    profiles: Path, *, url: str | None = None, profile: str | None = None, token_file: str | None = None
) -> Target:
    return choose_target(url, profile, token_file, {"RESROUTE_PROFILES": str(profiles)})


# --- what counts ----------------------------------------------------------------------------------------------


def test_a_profile_gives_url_and_token(profiles: Path) -> None:
    assert choose(profiles, profile="production") == Target("wss://production/", "of-production")
    assert choose(profiles, profile="plain") == Target("ws://plain/")
    assert choose(profiles, profile="only-token") == Target(None, "of-production")


def test_who_names_nothing_gets_the_default_profile(profiles: Path) -> None:
    assert choose(profiles) == Target("ws://default/", "of-default")


def test_the_token_of_the_default_profile_does_not_go_to_another_router(profiles: Path) -> None:
    assert choose(profiles, url="ws://other/") == Target("ws://other/")


def test_the_token_of_a_profile_without_a_router_goes_to_the_one_that_is_given(profiles: Path) -> None:
    profiles.write_text('[mine]\ntoken_file = "default.token"\n')
    assert choose(profiles, url="ws://x/", profile="mine") == Target("ws://x/", "of-default")


def test_what_is_given_wins_over_the_profile(profiles: Path, tmp_path: Path) -> None:
    other = str(write_token(tmp_path / "other", "given"))
    assert choose(profiles, url="ws://x/", profile="production") == Target("ws://x/")
    assert choose(profiles, profile="production", token_file=other) == Target("wss://production/", "given")
    assert choose(profiles, url="ws://x/", token_file=other) == Target("ws://x/", "given")
    assert choose(profiles, token_file=other) == Target("ws://default/", "given")


def test_a_token_file_that_does_not_count_is_not_read(profiles: Path, tmp_path: Path) -> None:
    (tmp_path / "default.token").unlink()
    other = str(write_token(tmp_path / "other", "given"))
    assert choose(profiles, token_file=other).token == "given"


def test_a_broken_file_of_profiles_is_not_read_where_none_is_wanted(profiles: Path) -> None:
    profiles.write_text("broken")
    assert choose(profiles, url="ws://x/") == Target("ws://x/")


def test_without_any_profiles_nothing_is_chosen(tmp_path: Path) -> None:
    assert choose_target(None, None, None, {"XDG_CONFIG_HOME": str(tmp_path)}) == Target()


def test_without_a_default_profile_nothing_is_chosen(profiles: Path) -> None:
    profiles.write_text('[other]\nurl = "ws://other/"\n')
    assert choose(profiles) == Target()


def test_profiles_are_looked_for_in_the_folder_for_configuration(
    profiles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("xdg", "home/.config"):
        (tmp_path / folder / "resroute").mkdir(parents=True)
        (tmp_path / folder / "resroute/profiles.toml").write_text(f'[default]\nurl = "ws://{folder[:3]}/"\n')
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    xdg = {"XDG_CONFIG_HOME": str(tmp_path / "xdg")}
    assert choose_target(None, None, None, xdg).url == "ws://xdg/"
    assert choose_target(None, None, None, {}).url == "ws://hom/"
    assert choose_target(None, None, None, {"XDG_CONFIG_HOME": "xdg"}).url == "ws://hom/"
    assert choose_target(None, None, None, xdg | {"RESROUTE_PROFILES": str(profiles)}).url == "ws://default/"


def test_a_token_file_may_be_anywhere(
    profiles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    absolute = write_token(home / "token", f"  {TOKEN}\r\n\n")
    for named in ("~/token", str(absolute), "home/token"):
        profiles.write_text(f'[default]\ntoken_file = "{named}"\n')
        assert choose(profiles).token == TOKEN, named
    assert choose(profiles, token_file="~/token").token == TOKEN


# --- mistakes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("[default", "is not valid TOML: "),
        ('[other]\nurl = "ws://x/"\n[more]\n', "there is no profile 'default' in .*; there is: other, more$"),
        ("", "there is no profile 'default' in .*; there is: none$"),
        ('default = "ws://x/"', "there is no profile 'default' in .*; there is: none$"),
        ('[default]\nurll = "x"', r"and no urll \(from the profile 'default' in "),
        (f'[default]\ntoken = "{TOKEN}"', r"a profile has url and token_file, and no token \(from "),
        ("[default]\nurl = 5", "url must be a string that is not empty"),
        ('[default]\nurl = ""', "url must be a string that is not empty"),
        ('[default]\ntoken_file = ""', "token_file must be a string that is not empty"),
        (
            '[default]\ntoken_file = "missing"',
            "cannot read the token file .*missing: No such file or directory",
        ),
        ('[default]\ntoken_file = "."', "cannot read the token file .*: Is a directory"),
        ('[default]\ntoken_file = "a\\u0000"', "cannot read the token file .*: embedded null byte"),
        (
            '[default]\ntoken_file = "~nobody-of-this-name/x"',
            "there is no home folder for ~nobody-of-this-name/x",
        ),
    ],
)
def test_a_mistake_in_a_profile_is_told(profiles: Path, text: str, mistake: str) -> None:
    profiles.write_text(text)
    with pytest.raises(ProfileMistake, match=mistake) as told:
        choose(profiles, profile="default")
    assert TOKEN not in str(told.value)


@pytest.mark.parametrize("profile", [None, "production"])
def test_profiles_that_are_named_must_be_there(tmp_path: Path, profile: str | None) -> None:
    with pytest.raises(ProfileMistake, match=r"cannot read the profiles in .*missing\.toml: No such file"):
        choose(tmp_path / "missing.toml", profile=profile)


def test_a_profile_of_the_usual_file_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(ProfileMistake, match=r"cannot read the profiles in .*: No such file"):
        choose_target(None, "production", None, {"XDG_CONFIG_HOME": str(tmp_path)})


@pytest.mark.parametrize(
    ("content", "mistake"),
    [
        (b"", "is empty$"),
        (b" \n", "is empty$"),
        (f"{TOKEN} {TOKEN}".encode(), "holds no token: "),
        (f"{TOKEN}\nX: y".encode(), "holds no token: "),
        (f"{TOKEN}\N{LATIN SMALL LETTER U WITH DIAERESIS}".encode(), "holds no token: "),
        (TOKEN.encode() + b"\xff\x00", "holds no token: "),
        (b"t" * (MAX_TOKEN_BYTES + 1), f"is longer than {MAX_TOKEN_BYTES} bytes$"),
    ],
)
def test_what_is_no_token_is_refused_and_not_shown(tmp_path: Path, content: bytes, mistake: str) -> None:
    path = tmp_path / "token"
    path.write_bytes(content)
    with pytest.raises(ProfileMistake, match=mistake) as told:
        choose_target(NOWHERE, None, str(path), {})
    assert TOKEN not in str(told.value)
    assert "ttt" not in str(told.value)


def test_the_longest_token_is_taken(tmp_path: Path) -> None:
    path = write_token(tmp_path / "token", "t" * MAX_TOKEN_BYTES)
    assert choose_target(NOWHERE, None, str(path), {}).token == "t" * MAX_TOKEN_BYTES


def test_a_target_does_not_show_its_token() -> None:
    assert TOKEN not in repr(Target("ws://x/", TOKEN))


@pytest.mark.parametrize(("mode", "warned"), [(0o600, False), (0o400, False), (0o640, True), (0o604, True)])
def test_a_token_that_others_can_read_is_worth_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], mode: int, warned: bool
) -> None:
    path = write_token(tmp_path / "token", TOKEN, mode)
    assert choose_target(NOWHERE, None, str(path), {}).token == TOKEN
    said = capsys.readouterr()
    warning = f"resroute: warning: others can read the token file {path}; chmod 600 keeps it to you\n"
    assert (said.out, said.err) == ("", warning if warned else "")


# --- on the command line --------------------------------------------------------------------------------------


@attrs.frozen
class Gatekeeper:
    """Listens as a router would, and turns everybody away."""

    url: str
    heads: list[str]
    """What each said in its handshake."""


@pytest.fixture
def gatekeeper() -> Iterator[Gatekeeper]:
    heads: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def turn_away() -> None:
            while True:
                connection, _ = listener.accept()
                with connection:
                    connection.settimeout(10)
                    head = b""
                    while b"\r\n\r\n" not in head:
                        if not (chunk := connection.recv(65_536)):
                            return  # the end of the test
                        head += chunk
                    heads.append(head.decode())
                    connection.sendall(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")

        thread = threading.Thread(target=turn_away)
        thread.start()
        try:
            yield Gatekeeper(f"ws://127.0.0.1:{listener.getsockname()[1]}/", heads)
        finally:
            socket.create_connection(listener.getsockname()).close()
            thread.join(10)
    assert not thread.is_alive()


CONNECTING = {
    "call": ["call", "get", "--resource=a"],
    "hold": ["hold", "a", "--service=s"],
    "ls": ["ls"],
    "show": ["show", "a"],
    "watch": ["watch"],
    "explain": ["explain", "a"],
    "transfer": ["transfer", "a", "--to=b"],
    "release": ["release", "a"],
    "drain": ["drain", "a"],
    "rebalance": ["rebalance", "s"],
    "kick": ["kick", "--instance=a"],
    "top": ["top", "--count=1"],
    "stats": ["stats"],
    "update": ["update", "a", "--metadata={}"],
}
ADMIN_ONLY = {"audit": ["audit"], "settings": ["settings"], "calls": ["calls", "a"]}


def test_every_command_with_a_url_has_profiles() -> None:
    options = {name: {param.name for param in cli.commands[name].params} for name in cli.commands}
    assert {name for name in options if "url" in options[name]} == {*CONNECTING, *ADMIN_ONLY}
    for name in (*CONNECTING, *ADMIN_ONLY):
        assert {"profile", "token_file"} <= options[name], name


@pytest.mark.parametrize("is_admin", [False, True])
def test_every_command_shows_the_token_to_the_router_of_the_profile(
    is_admin: bool,
    gatekeeper: Gatekeeper,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    profiles = tmp_path / "profiles.toml"
    url = gatekeeper.url.replace("ws:", "http:") if is_admin else gatekeeper.url
    profiles.write_text(f'[mine]\nurl = "{url}"\ntoken_file = "token"\n')
    write_token(tmp_path / "token", TOKEN)
    for name in [name for name in os.environ if name.startswith("RESROUTE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("RESROUTE_PROFILES", str(profiles))
    commands = {**CONNECTING, **ADMIN_ONLY} if is_admin else CONNECTING
    code = REFUSED if is_admin else NO_CONNECTION
    for name, arguments in commands.items():
        if is_admin and name == "hold":
            continue  # which needs a session
        gatekeeper.heads.clear()
        assert cli.main([*arguments, "--profile=mine"], standalone_mode=False) == code, name
        assert f"Authorization: Bearer {TOKEN}\r\n" in gatekeeper.heads[0], name
        said = capsys.readouterr()
        assert said.err.startswith("resroute: "), name
        assert TOKEN not in said.out + said.err, name


def test_a_token_that_travels_unprotected_is_worth_a_warning(tmp_path: Path) -> None:
    token = write_token(tmp_path / "token", TOKEN)
    for url, is_warned in (
        ("http://0.0.0.0:1/", True),
        ("ws://0.0.0.0:1/", True),
        ("https://0.0.0.0:1/", False),
        ("http://127.0.0.1:1/", False),
        ("ws://localhost:1/", False),
    ):
        done = run("ls", f"--url={url}", f"--token-file={token}")
        assert ("travels to 0.0.0.0 unprotected" in done.stderr) == is_warned, url
        assert (done.returncode, TOKEN in done.stderr) == (NO_CONNECTION, False)
    assert "unprotected" not in run("ls", "--url=http://0.0.0.0:1/").stderr


def test_options_win_over_variables_and_those_over_the_profile(
    gatekeeper: Gatekeeper, tmp_path: Path
) -> None:
    profiles = tmp_path / "profiles.toml"
    profiles.write_text(
        f'[default]\nurl = "{gatekeeper.url}default"\n'
        f'[mine]\nurl = "{gatekeeper.url}mine"\ntoken_file = "mine"\n'
        f'[other]\nurl = "{gatekeeper.url}other"\n'
    )
    files = {name: str(write_token(tmp_path / name, f"of-{name}")) for name in ("mine", "variable", "option")}
    environ = {"RESROUTE_PROFILES": str(profiles)}

    def seen(*arguments: str, **more: str) -> tuple[str, str]:
        gatekeeper.heads.clear()
        run("ls", *arguments, environ=environ | more)
        [head] = gatekeeper.heads
        tokens = [line.split()[-1] for line in head.splitlines() if line.lower().startswith("authorization:")]
        return head.split()[1], " ".join(tokens)

    url, token = "RESROUTE_URL", "RESROUTE_TOKEN_FILE"
    assert seen() == ("/default", "")
    assert seen(RESROUTE_PROFILE="mine") == ("/mine", "of-mine")
    assert seen("--profile=other", RESROUTE_PROFILE="mine") == ("/other", "")
    assert seen("--profile=mine", **{url: f"{gatekeeper.url}variable"}) == ("/mine", "of-mine")
    assert seen(RESROUTE_PROFILE="mine", **{url: f"{gatekeeper.url}variable"}) == ("/variable", "")
    assert seen("--profile=mine", f"--url={gatekeeper.url}option") == ("/option", "")
    assert seen("--profile=mine", **{token: files["variable"]}) == ("/mine", "of-variable")
    given = [f"--url={gatekeeper.url}option", f"--token-file={files['option']}"]
    assert seen(*given, **{url: f"{gatekeeper.url}variable", token: files["variable"]}) == (
        "/option",
        "of-option",
    )


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--profile=none"], "resroute: there is no profile 'none' in {}; there is: default, bad-url\n"),
        (["--profile="], "resroute: there is no profile '' in {}; there is: default, bad-url\n"),
        (
            ["--token-file=/nonexistent"],
            "resroute: cannot read the token file /nonexistent: No such file or directory\n",
        ),
        (["--token-file="], "resroute: cannot read the token file .: Is a directory\n"),
    ],
)
def test_a_mistake_is_one_line_and_the_exit_code_of_wrong_usage(
    tmp_path: Path, arguments: list[str], line: str
) -> None:
    profiles = tmp_path / "profiles.toml"
    profiles.write_text(f'[default]\nurl = "{NOWHERE}"\n[bad-url]\nurl = "http://x/"\n')
    done = run("ls", *arguments, environ={"RESROUTE_PROFILES": str(profiles)})
    assert (done.returncode, done.stdout, done.stderr) == (MISTAKE, "", line.format(profiles))


def test_a_url_of_a_profile_is_checked_as_any_other(tmp_path: Path) -> None:
    profiles = tmp_path / "profiles.toml"
    profiles.write_text('[default]\nurl = "ws://127.0.0.1:1/resources/doc:1"\n')
    done = run("ls", environ={"RESROUTE_PROFILES": str(profiles)})
    assert (done.returncode, done.stdout) == (MISTAKE, "")
    assert "without the path (from the profile). Try 'resroute ls --help'." in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_shell_completes_the_names_of_profiles(profiles: Path) -> None:
    done = subprocess.run(
        command(),
        env=environment(
            _RESROUTE_COMPLETE="bash_complete",
            COMP_WORDS="resroute ls --profile p",
            COMP_CWORD="3",
            RESROUTE_PROFILES=str(profiles),
        ),
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert {line.partition(",")[2] for line in done.stdout.splitlines()} == {"production", "plain"}


@pytest.mark.parametrize("text", [None, "broken"])
def test_a_shell_completes_nothing_where_profiles_cannot_be_read(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "profiles.toml"
    if text is not None:
        path.write_text(text)
    assert profile_names({"RESROUTE_PROFILES": str(path)}) == []
