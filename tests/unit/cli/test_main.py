"""The command line: what it loads, how it exits, how it says that something went wrong."""

import errno
import json
import subprocess
import sys
from pathlib import Path

import click
import pytest

from squall.cli import main as entry, screen
from squall.cli.main import COMMANDS, DONE, FAILED, MISUSED, NOT_RUNNING, run_command
from squall.model.errors import ServerNotStarted, by_code

SOURCES = str(Path(__file__).parents[3] / "src")
# The command that is another part's work is loaded like the others.
WRITTEN = [
    name
    for name, (place, _) in COMMANDS.items()
    if (Path(SOURCES) / (place.partition(":")[0].replace(".", "/") + ".py")).exists()
]


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SQUALL_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.delenv("SQUALL_SERVER", raising=False)
    return tmp_path / "state"


def test_help_names_every_command_and_loads_none() -> None:
    program = (
        f"import sys; sys.path.insert(0, {SOURCES!r})\n"
        "from squall.cli.main import run_command\n"
        "code = run_command(['--help'])\n"
        "print(sorted(name for name in sys.modules if name.startswith('squall.') or name in {'rich', 'asyncio'}))\n"
        "sys.exit(code)"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert all(f"\n  {name} " in said for name in COMMANDS)
    assert said.splitlines()[-1] == "['squall.cli', 'squall.cli.main']"


@pytest.mark.parametrize("name", WRITTEN)
def test_every_command_has_help_and_starts_nothing_for_it(
    name: str, state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command([name, "--help"]) == DONE
    assert f"squall {name}" in capsys.readouterr().out
    assert not (state / "run").exists()


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["--version"]) == DONE
    assert capsys.readouterr().out.startswith("squall 0.")
    assert run_command(["version", "--json"]) == DONE
    assert json.loads(capsys.readouterr().out)["server"] is None


@pytest.mark.parametrize("arguments", [["bogus"], ["status", "--bogus"], ["app", "stop"]])
def test_wrong_use_exits_with_2_and_says_what_to_do(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(arguments) == MISUSED
    said = capsys.readouterr().err
    assert "error[SQ-1020]" in said
    assert "--help" in said


def test_a_named_error_is_said_without_a_traceback_and_obeyed_by_no_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert screen.say_error(ServerNotStarted("no\x1b[31m\nserver.log: \x07bell", remedy="wait"))
    said = capsys.readouterr().err
    assert said.splitlines() == [
        "error[SQ-1602]: no\\x1b[31m",
        "server.log: \\x07bell",
        "  what to do: wait",
        "  more: squall explain SQ-1602",
    ]
    assert not screen.say_error(ValueError("not ours"))


@pytest.mark.parametrize(
    ("problem", "code"),
    [(OSError(errno.ENOSPC, "full", "/x"), "SQ-1403"), (OSError(errno.EMFILE, "many"), "SQ-1404")],
)
def test_what_the_machine_ran_out_of_has_a_name(
    problem: OSError, code: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert screen.say_error(problem)
    assert f"error[{code}]" in capsys.readouterr().err
    assert not screen.say_error(OSError(errno.EIO, "broken"))


def test_a_state_directory_that_cannot_be_used_is_a_named_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SQUALL_STATE_DIR", str(tmp_path / "missing" / "state"))
    for command in ("status", "up", "down", "doctor"):
        assert run_command([command]) == FAILED
        said = capsys.readouterr().err
        assert "error[SQ-1605]" in said
        assert "mkdir -p" in said


def test_a_fault_of_ours_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    @click.command()
    def broken() -> None:
        raise ZeroDivisionError

    monkeypatch.setitem(entry.COMMANDS, "version", ("tests_broken:command", ""))
    monkeypatch.setitem(sys.modules, "tests_broken", type(sys)("tests_broken"))
    monkeypatch.setattr(sys.modules["tests_broken"], "command", broken, raising=False)
    with pytest.raises(ZeroDivisionError):
        run_command(["version"])


def test_status_without_a_server_exits_with_3(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["status", "--json"]) == NOT_RUNNING
    found = json.loads(capsys.readouterr().out)
    assert not found["running"]
    assert found["state"] == str(state)
    assert run_command(["status"]) == NOT_RUNNING
    assert "no server runs" in capsys.readouterr().out


def test_down_without_a_server_says_so_and_is_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["down"]) == DONE
    assert capsys.readouterr().out == "nothing runs\n"


@pytest.mark.parametrize("arguments", [["container", "list"], ["app", "stop", "x"], ["shell"]])
def test_what_needs_a_running_server_starts_none(
    arguments: list[str], state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(arguments) == FAILED
    assert "no server runs" in capsys.readouterr().err
    assert not (state / "run" / "supervisor.json").exists()


def test_every_code_can_be_explained(capsys: pytest.CaptureFixture[str]) -> None:
    for code, error in by_code().items():
        assert run_command(["explain", code]) == DONE
        said = capsys.readouterr().out
        assert said.startswith(f"{code} {error.__name__}\n")
        assert "what to do:" in said
    assert run_command(["explain", "1602", "--json"]) == DONE
    assert json.loads(capsys.readouterr().out)["code"] == "SQ-1602"
    assert run_command(["explain", "SQ-9999"]) == FAILED
    assert run_command(["explain", "--json"]) == DONE


def test_every_option_can_be_explained(capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert run_command(["explain", "options", "--json"]) == DONE
    assert {"name", "default", "least", "most", "means"} <= json.loads(capsys.readouterr().out)[0].keys()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_printed_for_each_shell(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["completion", shell]) == DONE
    assert "_SQUALL_COMPLETE" in capsys.readouterr().out


def test_commands_are_completed() -> None:
    environ = {
        "PYTHONPATH": SOURCES,
        "COMP_WORDS": "squall app st",
        "COMP_CWORD": "2",
        "_SQUALL_COMPLETE": "bash_complete",
    }
    argv = [sys.executable, "-m", "squall"]
    said = subprocess.run(argv, env=environ, capture_output=True, text=True, check=False).stdout
    assert said == "plain,stats\nplain,stop\n"


def test_completion_of_an_unknown_shell_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SHELL", "/bin/csh")
    assert run_command(["completion"]) == FAILED
    assert "csh" in capsys.readouterr().err


def test_the_logs_of_our_own_processes_are_shown_newest_last(
    state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    logs = state / "logs"
    run_command(["status"])
    (logs / "server.log.1").write_text("one\ntwo\n")
    (logs / "server.log").write_text("three\nfour\x1b[0m\n")
    capsys.readouterr()
    assert run_command(["logs", "--server", "-n", "3"]) == DONE
    assert capsys.readouterr().out == "two\nthree\nfour\\x1b[0m\n"
    assert run_command(["logs", "--server", "--grep", "o"]) == DONE
    assert capsys.readouterr().out == "one\ntwo\nfour\\x1b[0m\n"
    assert run_command(["logs", "--grep", "("]) == FAILED


def test_colour_is_for_terminals_that_want_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal:
        def isatty(self) -> bool:
            return True

    terminal: object = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert screen.coloured(terminal)  # type: ignore[arg-type]  # all that is asked of it is isatty
    monkeypatch.setenv("NO_COLOR", "1")
    assert not screen.coloured(terminal)  # type: ignore[arg-type]  # the same
    assert not screen.coloured(sys.stdout)


def test_a_table_is_aligned_and_plain(capsys: pytest.CaptureFixture[str]) -> None:
    screen.say_table(
        [{"id": "a", "state": None}, {"id": "bcd\n", "state": "idle"}], ("id", "state"), empty="none"
    )
    assert capsys.readouterr().out == "ID     STATE\na\nbcd\\n  idle\n"
    screen.say_table([], ("id",), empty="none")
    assert capsys.readouterr().out == "none\n"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (59.9, "59s"), (60, "1m"), (7200, "2h"), (200_000, "2d")]
)
def test_an_age_is_told_in_one_unit(seconds: float, text: str) -> None:
    assert screen.age(seconds) == text
