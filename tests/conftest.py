"""How the tests meet their machine: what they need, what was left out, and whether that was expected."""

from __future__ import annotations

import signal

import hypothesis
import pytest

from tests import left_out, machine

pytest_plugins = ["tests.postgres", "tests.seaweed"]

_skips: list[left_out.Skip] = []


def pytest_configure() -> None:
    # A shell has Ctrl-C ignored in what it runs in the background, and every program of the tests would inherit that.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # How long an example takes is no property of ours on a machine that has other work.
    hypothesis.settings.register_profile("squall", deadline=None)
    hypothesis.settings.load_profile("squall")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--no-skips", action="store_true", help="a test that is left out fails the run")


def pytest_report_header() -> str:
    return f"machine profile: {_profile().name} ({_profile().describes})"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    facts = machine.facts()
    for item in items:
        for mark in item.iter_markers("needs"):
            missing = [fact for fact in mark.args if not facts[fact]]
            if missing:
                item.add_marker(pytest.mark.skip(reason="needs " + ", needs ".join(missing)))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.skipped and not hasattr(report, "wasxfail"):
        _skips.append(left_out.Skip(test=report.nodeid, reason=_reason(report.longrepr)))


def pytest_collectreport(report: pytest.CollectReport) -> None:
    if report.skipped:
        _skips.append(left_out.Skip(test=report.nodeid, reason=_reason(report.longrepr)))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    # On a worker of pytest-xdist only the controller knows the whole.
    if hasattr(session.config, "workerinput") or session.exitstatus != pytest.ExitCode.OK:
        return
    if _skips and (session.config.getoption("--no-skips") or left_out.unexpected(_skips, _profile())):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    terminalreporter.section(f"left out on this machine ({_profile().name})")
    for line in left_out.table(_skips, machine.REMEDIES) if _skips else ["nothing"]:
        terminalreporter.write_line(line)
    surprises = _skips if config.getoption("--no-skips") else left_out.unexpected(_skips, _profile())
    for skip in surprises:
        terminalreporter.write_line(f"not allowed to be left out here: {skip.test}: {skip.reason}", red=True)


def _profile() -> left_out.Profile:
    return left_out.profile_of(machine.facts(), left_out.read_profiles())


def _reason(longrepr: object) -> str:
    # pytest keeps (file, line, "Skipped: why") for a skip.
    text = str(longrepr[2]) if isinstance(longrepr, tuple) else str(longrepr)
    return text.removeprefix("Skipped: ")
