"""Bad input through the command line: what each mistake says, how it ends, and that nothing is left of it."""

from __future__ import annotations

import io
import shutil
import socket
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from squall.settings.start import command
from tests.end_to_end.terminal import (
    Terminal,
    fresh_folder,
    leave_nothing,
    left_of,
)

pytestmark = pytest.mark.needs("linux", "namespaces")

APP = "import squall\napp = squall.App('bad')\n"
FUNCTION = APP + "@app.function()\ndef double(number: int) -> int:\n    return 2 * number\n"
ENTRY = "@app.local_entrypoint()\ndef main({parameters}):\n    {body}\n"


def entry(body: str, parameters: str = "") -> str:
    return ENTRY.format(body=body, parameters=parameters)


def function(body: str, options: str = "", *, signature: str = "value=None") -> str:
    lines = "\n    ".join(body.splitlines())
    return f"{APP}@app.function({options})\ndef bad({signature}):\n    {lines}\n"


@pytest.fixture(scope="module")
def terminal() -> Iterator[Terminal]:
    terminal = Terminal(folder=fresh_folder())
    yield terminal
    leave_nothing(terminal)


# the file


def test_a_syntax_error_is_shown_as_python_shows_it(terminal: Terminal) -> None:
    said = terminal.run("import squall\ndef broken(:\n")
    assert said.status == 1, said
    assert "SyntaxError" in said.err, said
    assert "program.py" in said.err, said
    assert str(Path(__file__).parents[2] / "src") not in said.err, said


def test_an_import_error_is_the_users_traceback(terminal: Terminal) -> None:
    terminal.run("import no_such_thing\n").is_traceback("program.py", "ModuleNotFoundError", "no_such_thing")


def test_an_import_that_fails_in_the_container_only_names_the_import_that_wanted_it(
    terminal: Terminal,
) -> None:
    path = terminal.write("VALUE = 1\n", "left_behind.py")
    (path.parent / ".squallignore").write_text("left_behind.py\n")
    program = path.parent / "program.py"
    program.write_text(
        APP + "@app.function()\ndef bad():\n    import left_behind\n    return left_behind.VALUE\n"
    )
    said = terminal.squall("run", str(program))
    assert said.status == 1, said
    assert "left_behind" in said.err, said
    assert "import left_behind" in said.err, said
    assert ".squallignore" in said.err, said
    assert "src/squall/" not in said.err, said


def test_a_module_that_does_not_ship_is_named_with_the_file_that_imports_it(terminal: Terminal) -> None:
    path = terminal.write("VALUE = 1\n", "left_behind.py")
    (path.parent / ".squallignore").write_text("left_behind.py\n")
    program = path.parent / "program.py"
    program.write_text("import left_behind\n" + function("return left_behind.VALUE"))
    said = terminal.squall("run", str(program))
    said.is_traceback("program.py line 1: `import left_behind`", "SQ-1209", ".squallignore")


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (("nowhere.py",), "SQ-1019", "nowhere.py"),
        (("-m", "no.such.module"), "SQ-1019", "no.such.module"),
        (("{file}::nothing",), "SQ-1017", "double"),
        (("{empty}",), "SQ-1017", "no app"),
        (("{folder}",), "SQ-1019", "directory"),
    ],
)
def test_what_is_not_there_is_named(
    terminal: Terminal, arguments: tuple[str, ...], code: str, word: str
) -> None:
    file = terminal.write(FUNCTION)
    empty = terminal.write("x = 1\n")
    given = [part.format(file=file, empty=empty, folder=file.parent) for part in arguments]
    terminal.squall("run", *given).is_error(code, word)


@pytest.mark.parametrize(
    ("flags", "word"),
    [
        (("--nubmer", "3"), "--nubmer"),
        ((), "number"),
        (("--number", "three"), "three"),
        (("--number",), "number"),
        (("--number", "3", "surplus"), "surplus"),
    ],
)
def test_a_wrong_flag_is_wrong_use(terminal: Terminal, flags: tuple[str, ...], word: str) -> None:
    terminal.run(FUNCTION, "::double", *flags).is_error("SQ-1020", word, status=2)


def test_a_wrong_option_of_squall_is_wrong_use(terminal: Terminal) -> None:
    terminal.squall("status", "--jsn").is_error("SQ-1020", "--jsn", status=2)
    terminal.squall("runn").is_error("SQ-1020", "runn", status=2)


# values


def test_an_argument_that_cannot_travel_is_named(terminal: Terminal) -> None:
    said = terminal.run(
        "import threading\n" + function("pass") + entry("bad.remote(threading.Lock())"), "::main"
    )
    said.is_error("SQ-1201", "lock", "main")


def test_a_closure_that_cannot_travel_is_named(terminal: Terminal) -> None:
    program = f"""import threading
{APP}
def make():
    lock = threading.Lock()
    @app.function(serialized=True, name="bad")
    def bad():
        return lock.locked()
    return bad
bad = make()
{entry("bad.remote()")}"""
    terminal.run(program, "::main").is_error("SQ-1202", "lock")


def test_a_result_that_cannot_travel_is_named(terminal: Terminal) -> None:
    terminal.run(function("import threading\nreturn threading.Lock()")).is_error("SQ-1203", "bad", "lock")


def test_a_result_that_is_too_large_is_named_with_both_sizes() -> None:
    terminal = Terminal(folder=fresh_folder(), environ={"SQUALL_MAX_VALUE_BYTES": str(4 << 20)})
    try:
        terminal.run(function("return bytes(5 << 20)")).is_error("SQ-1206", "bad", str(4 << 20))
        body = "bad.remote(bytes(5 << 20))"
        terminal.run(function("pass") + entry(body), "::main").is_error("SQ-1205", str(4 << 20))
    finally:
        leave_nothing(terminal)


def test_another_python_for_code_by_value_is_refused_before_anything_is_sent(terminal: Terminal) -> None:
    other = "3.12" if sys.version_info[:2] != (3, 12) else "3.13"
    program = f"""{APP}
image = squall.Image.debian_slim(python_version={other!r})
@app.function(serialized=True, image=image)
def bad():
    return 1
"""
    terminal.run(program).is_error("SQ-1207", "'bad'", other)


# images


def image(steps: str) -> str:
    return f"{APP}@app.function(image=squall.Image.{steps})\ndef bad():\n    pass\n"


def test_a_line_of_a_dockerfile_that_is_not_understood_is_named(terminal: Terminal) -> None:
    bad = "debian_slim().dockerfile_commands('RUN true', 'RUN --mount=type=secret,id=a true')"
    terminal.run(image(bad)).is_error("SQ-1502", "line 2 of the Dockerfile")
    copy = "debian_slim().dockerfile_commands('COPY no-such-file /x')"
    terminal.run(image(copy)).is_error("SQ-1010", "line 1 of the Dockerfile", "no-such-file")
    terminal.run(image("from_dockerfile('Nowhere')")).is_error("SQ-1019", "Nowhere")


def test_two_values_of_one_secret_are_refused_and_neither_is_shown(terminal: Terminal) -> None:
    program = APP
    for name, value in (("one", "first-value"), ("two", "other-value")):
        secret = f"squall.Secret.from_dict({{'TOKEN': {value!r}}})"
        steps = f"squall.Image.debian_slim().run_commands('true', secrets=[{secret}])"
        program += f"@app.function(image={steps})\ndef {name}():\n    pass\n"
    said = terminal.run(program, "::one")
    said.is_error("SQ-1010", "TOKEN")
    assert "-value" not in said.out + said.err, said


def test_a_step_that_the_host_image_cannot_have_is_refused_with_what_can(terminal: Terminal) -> None:
    said = terminal.run(image("host().apt_install('ffmpeg')"))
    assert said.status == 1, said
    assert "Image.debian_slim()" in said.err, said


def test_a_function_for_a_step_that_cannot_travel_is_named(terminal: Terminal) -> None:
    program = "import threading\nlock = threading.Lock()\ndef step():\n    lock.acquire()\n"
    terminal.run(program + image("debian_slim().run_function(step)")).is_error("SQ-1202", "lock")


# packages


@pytest.mark.needs("network")
def test_a_package_that_does_not_exist_is_named(terminal: Terminal) -> None:
    name = "squall-has-no-such-package-0"
    program = f"{APP}image = squall.Image.host().pip_install({name!r})\n"
    program += "@app.function(image=image)\ndef bad():\n    pass\n"
    terminal.run(program, within_s=60).is_error("SQ-1501", name)


def test_a_package_that_does_not_build_shows_its_last_words(terminal: Terminal) -> None:
    links = terminal.write("", "nothing").parent
    files = {
        "pyproject.toml": "[build-system]\nrequires = []\nbuild-backend = 'backend'\nbackend-path = ['.']\n",
        "backend.py": "raise SystemExit('no compiler on this moon')\n",
        "PKG-INFO": "Metadata-Version: 2.1\nName: squallbroken\nVersion: 1.0\n",
    }
    with tarfile.open(links / "squallbroken-1.0.tar.gz", "w:gz") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(f"squallbroken-1.0/{name}")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    options = f"'squallbroken', find_links={str(links)!r}"
    program = f"{APP}image = squall.Image.host().pip_install({options})\n"
    program += "@app.function(image=image)\ndef bad():\n    pass\n"
    terminal.run(program, within_s=60).is_error("SQ-1500", "squallbroken", "no compiler on this moon")


# starting


def test_a_function_that_sleeps_while_it_is_loaded_never_starts(terminal: Terminal) -> None:
    program = "import time, squall\nif not squall.is_local():\n    time.sleep(60)\n" + function(
        "pass", "startup_timeout=1"
    )
    said = terminal.run(program)
    said.is_error("SQ-1302", "bad", "1 s")
    assert said.took_s < 15, said


def test_a_function_that_ends_while_it_is_loaded_never_starts(terminal: Terminal) -> None:
    program = "import os, squall\nif not squall.is_local():\n    os._exit(7)\n" + function("pass")
    said = terminal.run(program)
    said.is_error("SQ-1410", "bad", "7")
    assert said.took_s < 20, said


# limits


def test_out_of_memory_says_the_limit_and_the_peak(terminal: Terminal) -> None:
    said = terminal.run(function("return len(bytearray(400 << 20))", "memory=(64, 128)"))
    said.is_error("SQ-1401", "bad", "128 MiB", "peak")


def test_one_poisoned_input_of_a_map_costs_no_other(terminal: Terminal) -> None:
    body = "return len(bytearray(400 << 20)) if value == 3 else value"
    loop = "print([v if isinstance(v, int) else type(v).__name__ for v in bad.map(range(8), return_exceptions=True)])"
    said = terminal.run(function(body, "memory=(64, 128), max_containers=2") + entry(loop), "::main")
    assert said.status == 0, said
    assert "[0, 1, 2, 'OutOfMemory', 4, 5, 6, 7]" in said.out, said


def test_a_full_disk_of_a_container_is_named(terminal: Terminal) -> None:
    body = (
        "with open('/tmp/much', 'wb') as file:\n    for _ in range(2000):\n        file.write(bytes(1 << 20))"
    )
    said = terminal.run(function(body + "\nimport time; time.sleep(20)", "ephemeral_disk=64"))
    said.is_error("SQ-1403", "bad")


def test_too_many_files_are_named(terminal: Terminal) -> None:
    body = "import resource\nresource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))\nreturn [open('/dev/null') for _ in range(999)][0].name"
    said = terminal.run(function(body))
    assert said.status == 1, said
    assert "SQ-1404" in said.err or "Too many open files" in said.err, said


def test_too_many_processes_are_named(terminal: Terminal) -> None:
    body = "import threading, time\nfor _ in range(100_000):\n    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()"
    said = terminal.run(function(body), within_s=60)
    said.is_error("SQ-1402", "bad")


# the state directory


def test_a_state_directory_without_a_parent_is_refused(terminal: Terminal) -> None:
    said = terminal.run(FUNCTION, "::double", "--number", "3", SQUALL_STATE_DIR="/no/such/place/at/all")
    said.is_error("SQ-1605", "/no/such/place/at")


MOUNTED = """
import os, subprocess, sys
place, kind, options = sys.argv[1:4]
if kind == "overlay":
    subprocess.run(["mount", "-t", "tmpfs", "none", place], check=True)
    for name in "luwm":
        os.mkdir(f"{place}/{name}")
    options = f"lowerdir={place}/l,upperdir={place}/u,workdir={place}/w"
    place += "/m"
subprocess.run(["mount", "-t", kind, *(["-o", options] if options else []), "none", place], check=True)
os.environ["SQUALL_STATE_DIR"] = place if kind == "tmpfs" and "ro" in options.split(",") else place + "/state"
made = subprocess.run([sys.executable, "-m", "squall", *sys.argv[4:]], timeout=60)
ended = subprocess.run([sys.executable, "-m", "squall", "down"], timeout=60, capture_output=True)
sys.exit(made.returncode)
"""


def run_mounted(
    terminal: Terminal, kind: str, options: str, program: str, *arguments: str
) -> tuple[int, str, str]:
    place = terminal.write("", "nothing").parent
    script = terminal.write(MOUNTED, "mounted.py")
    file = terminal.write(program)
    target = str(file) + (arguments[0] if arguments else "")
    own = ["unshare", "--mount", "--propagation", "private", sys.executable, str(script)]
    done = subprocess.run(
        [*own, str(place), kind, options, "run", target, *arguments[1:]],
        env=terminal.environment(),
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert left_of(place) == []
    return done.returncode, done.stdout, done.stderr


@pytest.mark.needs("root")
@pytest.mark.parametrize("kind", ["overlay", "tmpfs"])
def test_a_state_directory_on_overlayfs_or_in_memory_works(terminal: Terminal, kind: str) -> None:
    program = function("open('/tmp/x', 'w').write('x')\nreturn value") + entry(
        "print(list(bad.map(range(3))))"
    )
    status, out, err = run_mounted(terminal, kind, "", program, "::main")
    assert (status, out) == (0, "[0, 1, 2]\n"), (out, err)


@pytest.mark.needs("root")
def test_a_read_only_state_directory_is_refused(terminal: Terminal) -> None:
    status, _, err = run_mounted(terminal, "tmpfs", "ro", FUNCTION, "::double", "--number", "3")
    assert status == 1, err
    assert "error[SQ-1605]" in err or "error[SQ-1900]" in err, err
    assert "what to do" in err, err
    assert "Traceback" not in err, err


@pytest.mark.needs("root")
def test_a_state_directory_on_a_full_disk_is_named(terminal: Terminal) -> None:
    program = function("return value") + entry("print(len(bad.spawn(bytes(60_000_000)).get()))")
    status, _, err = run_mounted(terminal, "tmpfs", "size=24m", program, "::main")
    assert status == 1, err
    assert "error[SQ-1403]" in err, err
    assert "/src/squall/" not in err, err


# the machine


@pytest.mark.needs("root")
def test_large_values_work_or_are_named_where_shared_memory_is_small() -> None:
    terminal = Terminal(folder=fresh_folder())
    shm = 'mount -t tmpfs -o size=64k none /dev/shm && exec "$@"'
    terminal.wrapper = ("unshare", "--mount", "--propagation", "private", "sh", "-c", shm, "sh")
    try:
        program = function("return value") + entry("print(len(bad.remote(bytes(8 << 20))))")
        said = terminal.run(program, "::main")
        assert (said.status, said.out) == (0, "8388608\n"), said
    finally:
        terminal.wrapper = ()
        leave_nothing(terminal)


@pytest.mark.needs("root")
def test_a_temporary_directory_from_which_nothing_may_run_is_no_hindrance() -> None:
    terminal = Terminal(folder=fresh_folder(below="/var/tmp"))
    # This clone may itself be below /tmp: it stays visible, over a place outside.
    clone, aside = str(Path(__file__).parents[2]), str(terminal.folder / "clone")
    noexec = (
        f"mkdir -p {aside} && mount --bind {clone} {aside} && mount -t tmpfs -o noexec none /tmp && "
        f'mkdir -p {clone} && mount --bind {aside} {clone} && exec "$@"'
    )
    terminal.wrapper = ("unshare", "--mount", "--propagation", "private", "sh", "-c", noexec, "sh")
    try:
        said = terminal.run(FUNCTION, "::double", "--number", "3")
        assert (said.status, said.out) == (0, "6\n"), said
        assert "noexec" in terminal.squall("doctor").out
    finally:
        terminal.wrapper = ()
        leave_nothing(terminal)


def test_a_stale_socket_is_replaced() -> None:
    terminal = Terminal(folder=fresh_folder())
    run = terminal.state / "run"
    run.mkdir(parents=True, mode=0o700)
    terminal.state.chmod(0o700)
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(run / "server.sock"))
    try:
        said = terminal.run(FUNCTION, "::double", "--number", "3")
        assert (said.status, said.out) == (0, "6\n"), said
    finally:
        leave_nothing(terminal)


def test_two_servers_on_one_state_directory_are_one(terminal: Terminal) -> None:
    first = terminal.squall("up", "--json")
    second = terminal.squall("up", "--json")
    assert first.status == second.status == 0, (first, second)
    assert first.out == second.out
    program = command("squall.server", "--state", str(terminal.state))
    done = subprocess.run(
        program, env=terminal.environment(), capture_output=True, text=True, timeout=20, check=False
    )
    assert done.returncode != 0
    assert "Traceback" not in done.stderr, done
    assert terminal.run(FUNCTION, "::double", "--number", "3").out == "6\n"


@pytest.mark.parametrize(
    "words", [("run", "{file}", "--number", "3"), ("status",), ("container", "list"), ("logs",)]
)
def test_a_named_server_that_is_not_there_is_said_at_once(terminal: Terminal, words: tuple[str, ...]) -> None:
    file = terminal.write(FUNCTION)
    given = [part.format(file=file) for part in words]
    said = terminal.squall(*given, SQUALL_SERVER="unix:/no/such/server.sock")
    said.is_error("SQ-1600", "/no/such/server.sock", status=said.status)
    assert said.status in {1, 3}, said
    assert said.took_s < 5, said


@pytest.mark.parametrize(
    ("value", "code"),
    [("tcp://example.com:1", "SQ-1010"), ("nonsense", "SQ-1010"), ("unix:relative", "SQ-1010")],
)
def test_a_named_server_that_cannot_be_is_refused(terminal: Terminal, value: str, code: str) -> None:
    file = terminal.write(FUNCTION)
    terminal.squall("run", str(file), "--number", "3", SQUALL_SERVER=value).is_error(code, value)


def test_a_named_server_is_the_one_that_runs(terminal: Terminal) -> None:
    terminal.squall("up")
    other = Terminal(
        folder=fresh_folder(), environ={"SQUALL_SERVER": f"unix:{terminal.state}/run/server.sock"}
    )
    said = other.run(FUNCTION, "::double", "--number", "3")
    assert (said.status, said.out) == (0, "6\n"), said
    assert left_of(other.state) == []
    shutil.rmtree(other.folder)
