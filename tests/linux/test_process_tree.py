"""Who starts, notices and restarts whom: each process killed with -9, and the races of starting."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from squall.model.errors import ServerNotStarted, VersionConflict
from squall.sdk import supervising
from squall.sdk.greeting import greet
from squall.sdk.local_server import ensure_server
from squall.sdk.supervising import start_supervisor
from squall.settings.paths import open_state
from squall.settings.process import is_alive
from tests.linux.house import TestHouse, house_in, kill, wait_for


def test_a_client_starts_what_is_missing_and_finds_it_the_next_time(tmp_path: Path) -> None:
    with house_in(tmp_path / "state") as house:
        said: list[str] = []
        assert house.ensure(said.append) == house.paths.server_socket
        first = house.both()
        assert said == ["starting the local server"]
        house.ensure(said.append)
        assert house.both() == first
        assert said == ["starting the local server"]


def test_a_server_killed_with_9_is_started_again_and_the_agent_goes_on(tmp_path: Path) -> None:
    with house_in(tmp_path / "state") as house:
        house.ensure()
        before = house.both()
        kill(before.members["server"])
        after = house.both_but(before.members["server"])
        assert after.members["agent"] == before.members["agent"]
        assert after.supervisor == before.supervisor
        assert house.ensure() == house.paths.server_socket


def test_an_agent_killed_with_9_is_started_again_and_the_server_goes_on(tmp_path: Path) -> None:
    with house_in(tmp_path / "state") as house:
        house.ensure()
        before = house.both()
        kill(before.members["agent"])
        after = house.both_but(before.members["agent"])
        assert after.members["server"] == before.members["server"]


def test_a_supervisor_killed_with_9_leaves_both_running_and_the_next_client_starts_one_that_adopts(
    tmp_path: Path,
) -> None:
    with house_in(tmp_path / "state") as house:
        house.ensure()
        before = house.both()
        kill(before.supervisor)
        assert all(map(is_alive, before.members.values()))
        house.ensure()
        after = house.both()
        assert after.supervisor != before.supervisor
        assert after.members == before.members


def test_an_adopted_server_killed_with_9_is_started_again(tmp_path: Path) -> None:
    with house_in(tmp_path / "state") as house:
        house.ensure()
        before = house.both()
        kill(before.supervisor)
        house.ensure()
        kill(house.both().members["server"])
        house.both_but(before.members["server"])


def test_a_supervisor_without_a_record_adopts_by_the_locks(tmp_path: Path) -> None:
    with house_in(tmp_path / "state") as house:
        house.ensure()
        before = house.both()
        kill(before.supervisor)
        house.paths.supervisor_record.unlink()
        house.ensure()
        assert house.both().members == before.members


def test_a_record_with_a_reused_pid_is_not_trusted(tmp_path: Path) -> None:
    with house_in(tmp_path / "state") as house:
        house.ensure()
        before = house.both()
        for mark in (before.supervisor, *before.members.values()):
            kill(mark)
        # The number of the dead server now belongs to this very test.
        record = house.paths.supervisor_record
        record.write_text(record.read_text().replace(str(before.members["server"].pid), str(os.getpid())))
        house.paths.member_lock("server").unlink()
        house.ensure()
        assert house.both().members["server"].pid != os.getpid()


def test_everything_killed_at_once_is_started_afresh_by_the_next_client(tmp_path: Path) -> None:
    with house_in(tmp_path / "state") as house:
        house.ensure()
        before = house.both()
        for mark in (before.supervisor, *before.members.values()):
            kill(mark)
        assert house.paths.server_socket.exists()  # stale now
        house.ensure()
        assert set(house.both().members.values()).isdisjoint(before.members.values())


def test_ten_clients_at_once_start_one_supervisor(tmp_path: Path) -> None:
    with house_in(tmp_path / "state") as house:
        program = (
            "import sys; sys.path[:0] = sys.argv[1:3]\n"
            "from pathlib import Path; from tests.linux.house import TestHouse\n"
            "print(TestHouse(Path(sys.argv[3])).ensure())"
        )
        root = Path(__file__).parents[2]
        sources = (str(root / "src"), str(root))
        argv = [sys.executable, "-c", program, *sources, str(house.paths.state)]
        clients = [subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) for _ in range(10)]
        said = {client.communicate(timeout=60)[0].strip() for client in clients}
        assert said == {str(house.paths.server_socket)}
        assert all(client.returncode == 0 for client in clients)
        record = house.both()
        assert wait_for(lambda: len(house.supervisors()) == 1)
        assert house.supervisors() == [record.supervisor]
        assert len([note for note in house.notes() if note.startswith("server start")]) == 1


def test_a_second_supervisor_says_who_holds_the_directory_and_ends_well(tmp_path: Path) -> None:
    with house_in(tmp_path / "state") as house:
        house.ensure()
        holder = house.both().supervisor
        second = subprocess.run(house.supervisor(), capture_output=True, text=True, timeout=30, check=False)
        assert second.returncode == 0
        assert f"process {holder.pid} supervises {house.paths.state}" in second.stdout


def test_a_stale_socket_is_no_obstacle(tmp_path: Path) -> None:
    with house_in(tmp_path / "state") as house, socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(house.paths.server_socket))
        stale.close()
        assert greet(house.paths.server_socket, timeout_s=1.0) is None
        house.ensure()


def test_a_state_directory_with_a_path_beyond_107_bytes_works(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)
    with house_in(deep / "state") as house:
        assert len(str(house.ensure())) > 200
        house.both()


def test_a_server_that_falls_at_first_is_started_until_it_stands(tmp_path: Path) -> None:
    with house_in(tmp_path / "state", server=("--crash-first", "3")) as house:
        house.ensure()
        assert len([note for note in house.notes() if note.startswith("server start")]) == 4


def test_a_server_that_cannot_run_is_reported_at_once_with_its_own_words(tmp_path: Path) -> None:
    with house_in(tmp_path / "state", server=("--exit", "78")) as house:
        began_s = time.monotonic()
        with pytest.raises(ServerNotStarted, match="the server says why it cannot run"):
            house.ensure()
        assert time.monotonic() - began_s < house.options.start_deadline_s
        assert wait_for(lambda: not house.living())


def test_a_server_that_never_listens_is_reported_with_its_log(tmp_path: Path) -> None:
    with house_in(tmp_path / "state", server=("--exit", "1")) as house:
        house.options = type(house.options)(start_deadline_s=1.0)
        with pytest.raises(ServerNotStarted, match="the server says why it cannot run"):
            house.ensure()


def test_an_idle_server_of_another_version_is_replaced(tmp_path: Path) -> None:
    with house_in(tmp_path / "state", server=("--version", "0.0.1")) as house:
        with pytest.raises(AssertionError):
            # The stand-in of this command line stays at its old version: the old house is what we want here.
            _ensure_once(house)
        old = house.both()
        house.server = ()
        said: list[str] = []
        house.ensure(said.append)
        new = house.both()
        assert any("replacing squall 0.0.1" in words for words in said)
        assert new.supervisor != old.supervisor
        assert not any(map(is_alive, (old.supervisor, *old.members.values())))
        assert "agent told SIGINT" in house.notes()


def test_an_idle_server_of_another_version_whose_supervisor_was_killed_is_replaced_too(
    tmp_path: Path,
) -> None:
    with house_in(tmp_path / "state", server=("--version", "0.0.1")) as house:
        with pytest.raises(AssertionError):
            _ensure_once(house)
        old = house.both()
        kill(old.supervisor)
        house.server = ()
        house.ensure()
        assert not any(map(is_alive, old.members.values()))
        assert greet(house.paths.server_socket, timeout_s=5.0) is not None


@pytest.mark.parametrize("what", [("--version", "0.0.1"), ("--protocol", "99")])
def test_a_busy_server_of_another_version_is_left_alone_and_the_command_is_named(
    tmp_path: Path, what: tuple[str, ...]
) -> None:
    with house_in(tmp_path / "state", server=(*what, "--busy", "2 calls run")) as house:
        with pytest.raises(VersionConflict, match="2 calls run") as refused:
            house.ensure()
        assert "squall down" in refused.value.remedy
        assert all(map(is_alive, house.both().members.values()))


def test_an_idle_server_ends_and_takes_the_house_with_it(tmp_path: Path) -> None:
    with house_in(tmp_path / "state", server=("--idle-after", "0.3")) as house:
        house.ensure()
        assert wait_for(lambda: not house.living())
        assert "agent told SIGINT" in house.notes()
        assert len([note for note in house.notes() if note.startswith("server start")]) == 1


def test_an_adopted_idle_server_ends_the_house_too(tmp_path: Path) -> None:
    with house_in(tmp_path / "state", server=("--idle-after", "1.5")) as house:
        house.ensure()
        kill(house.both().supervisor)
        house.ensure()
        assert wait_for(lambda: not house.living())
        assert len([note for note in house.notes() if note.startswith("server start")]) == 1


def test_a_supervisor_told_to_stop_leaves_the_containers_and_one_told_down_does_not(tmp_path: Path) -> None:
    with house_in(tmp_path / "state") as house:
        house.ensure()
        kill(house.both().supervisor, signal.SIGTERM)
        assert wait_for(lambda: not house.living())
        assert {"agent told SIGTERM", "server told SIGTERM"} <= set(house.notes())
        assert "agent told SIGINT" not in house.notes()
        house.ensure()
        kill(house.both().supervisor, signal.SIGINT)
        assert wait_for(lambda: not house.living())
        assert house.notes()[-2:] == ["agent told SIGINT", "server told SIGINT"]


def test_a_process_that_does_not_listen_to_signals_is_killed_after_its_grace(tmp_path: Path) -> None:
    with house_in(tmp_path / "state", agent=("--stubborn",)) as house:
        house.paths.config.write_text("stop_grace_s = 0.1\n")
        house.ensure()
        kill(house.both().supervisor, signal.SIGINT)
        assert wait_for(lambda: not house.living())


def test_a_client_that_comes_while_the_house_ends_gets_a_new_one(tmp_path: Path) -> None:
    with house_in(tmp_path / "state", agent=("--stubborn",)) as house:
        house.paths.config.write_text("stop_grace_s = 0.1\n")
        house.ensure()
        old = house.both().supervisor
        kill(old, signal.SIGINT)
        wait_for(lambda: house.record().ending)
        kill(house.record().members["server"])
        house.agent = ()
        house.ensure()
        assert house.both().supervisor != old


def test_processes_get_nothing_of_their_client_but_a_bare_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_SECRET", "s3cret")
    leaked = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(leaked, True)
    with house_in(tmp_path / "state") as house:
        house.ensure()
        record = house.both()
        for mark in (record.supervisor, *record.members.values()):
            assert b"s3cret" not in Path(f"/proc/{mark.pid}/environ").read_bytes()
            assert os.readlink(f"/proc/{mark.pid}/cwd") == "/"
            assert os.getsid(mark.pid) != os.getsid(0)
            open_files = [os.readlink(f"/proc/{mark.pid}/fd/{fd}") for fd in ("0", "1", "2")]
            assert open_files[0] == "/dev/null"
            assert {Path(path).parent for path in open_files[1:]} == {house.paths.logs}
        assert (
            not os.path.exists(f"/proc/{record.supervisor.pid}/fd/{leaked}")
            or os.readlink(f"/proc/{record.supervisor.pid}/fd/{leaked}") != "/dev/null"
        )
    os.close(leaked)


def test_the_supervisor_is_nobodys_child(tmp_path: Path) -> None:
    before = children()
    with house_in(tmp_path / "state") as house:
        house.ensure()
        house.both()
        assert children() == before


def test_launchers_left_without_an_agent_are_ended_at_down(tmp_path: Path) -> None:
    with house_in(tmp_path / "state") as house:
        launcher = _launcher(house.paths.launcher_socket("one"))
        house.paths.launcher_socket("stale").touch()
        house.ensure()
        kill(house.both().supervisor, signal.SIGINT)
        assert launcher.wait(20) == 7  # it was asked
        assert wait_for(lambda: not house.living())
        assert not list(house.paths.launchers.iterdir())


def test_a_program_that_is_not_there_is_a_named_error(tmp_path: Path) -> None:
    paths = open_state(tmp_path / "state")
    with pytest.raises(ServerNotStarted, match="cannot be started"):
        start_supervisor(paths, ["/nowhere/python"])


def test_two_state_directories_have_two_houses(tmp_path: Path) -> None:
    with house_in(tmp_path / "one") as one, house_in(tmp_path / "two") as two:
        one.ensure()
        two.ensure()
        assert one.both().supervisor != two.both().supervisor


def test_a_second_server_on_one_state_directory_ends_and_the_first_goes_on(tmp_path: Path) -> None:
    with house_in(tmp_path / "state") as house:
        house.ensure()
        server = house.both().members["server"]
        stand_in = [sys.executable, str(Path(__file__).with_name("stand_in.py")), "server"]
        second = subprocess.run(
            [*stand_in, "--state", str(house.paths.state)], timeout=30, check=False, capture_output=True
        )
        assert second.returncode == 75
        assert house.both().members["server"] == server


def _ensure_once(house: TestHouse) -> None:
    """Start the house and give up at the first word of replacing it."""

    def stop(words: str) -> None:
        assert "replacing" not in words

    ensure_server(house.paths, house.options, stop, supervisor=house.supervisor())


def children() -> set[str]:
    """The processes whose parent this one is, with those that ended and were not waited for."""
    tasks = Path("/proc/self/task").iterdir()
    return {pid for task in tasks for pid in (task / "children").read_text().split()}


def _launcher(path: Path) -> subprocess.Popen[bytes]:
    """A process that listens like a launcher and ends with 7 when it is asked to quit."""
    program = (
        "import os, socket, sys\n"
        # A path of an address has 107 bytes at most, which the folder of a test may exceed.
        "os.chdir(os.path.dirname(sys.argv[1]))\n"
        "listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)\n"
        "listener.bind(os.path.basename(sys.argv[1]))\n"
        "listener.listen(); print('up', flush=True)\n"
        "asked, _ = listener.accept()\n"
        "sys.exit(7 if b'quit' in asked.recv(65536) else 1)"
    )
    launcher = subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE)
    assert launcher.stdout is not None
    assert launcher.stdout.readline() == b"up\n"
    launcher.stdout.close()
    return launcher


def test_a_supervisor_begun_early_is_the_one_that_is_used(tmp_path: Path) -> None:
    before = children()
    with house_in(tmp_path / "state") as house:
        supervising.begin_supervisor(house.paths, supervisor=house.supervisor())
        supervising.begin_supervisor(house.paths, supervisor=house.supervisor())
        house.ensure()
        assert len([note for note in house.notes() if note.startswith("server start")]) == 1
        assert house.supervisors() == [house.both().supervisor]
        supervising.begin_supervisor(house.paths)
        assert supervising.take_begun() is None
        assert children() == before
