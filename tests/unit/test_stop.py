"""Being asked to end, by real signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from hpckit.production.stop import GiveBack, Stop


@pytest.fixture
def stop():
    numbers = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM)
    before = [signal.getsignal(number) for number in numbers]
    stop = Stop()
    stop.listen()
    yield stop
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


def test_usr1_lets_the_unit_end(stop):
    with stop.unit():
        os.kill(os.getpid(), signal.SIGUSR1)
        time.sleep(0.01)
    assert stop.asked and not stop.at_once and not stop.leaves_time_for(0)


@pytest.mark.parametrize("number", [signal.SIGUSR2, signal.SIGTERM])
def test_usr2_and_term_take_the_unit_back_but_never_a_seal(stop, number):
    with pytest.raises(GiveBack), stop.unit():
        os.kill(os.getpid(), number)
        time.sleep(1)
    os.kill(os.getpid(), number)  # outside of a unit nothing is raised
    time.sleep(0.01)
    assert stop.at_once
    with pytest.raises(GiveBack), stop.unit():
        raise AssertionError("no further unit is begun")


def test_the_deadline_leaves_out_what_is_too_long():
    stop = Stop(deadline=time.time() + 10)
    assert stop.leaves_time_for(5) and not stop.leaves_time_for(15)
    assert Stop().leaves_time_for(1e9)


def test_the_deadline_comes_from_the_script(monkeypatch):
    monkeypatch.setenv("HPCKIT_DEADLINE", "1234")
    assert Stop.from_environment().deadline == 1234
    monkeypatch.setenv("HPCKIT_DEADLINE", "soon")
    assert Stop.from_environment().deadline is None


def test_scripts_pass_signals_on_and_give_the_exit_code(tmp_path):
    """The loop at the end of every job script, with a worker that takes a while to end."""
    from hpckit.sites.jobscript.script import render
    from hpckit.sites.scheduler.model import Job, Resources
    from hpckit.sites.site import Site

    worker = tmp_path / "hpckit"
    worker.write_text(
        f"#!{sys.executable}\nimport signal, sys, time\nsaid = []\n"
        "for number in (signal.SIGUSR1, signal.SIGUSR2):\n"
        "    signal.signal(number, lambda n, f: said.append(signal.Signals(n).name))\n"
        "print('ready', flush=True)\nwhile len(said) < 2:\n    time.sleep(0.05)\n"
        "time.sleep(0.3)\nprint(*said, flush=True)\nsys.exit(75)\n"
    )
    worker.chmod(0o755)
    job = Job("j", "ingest", tmp_path / "j.sh", tmp_path, Resources())
    site = Site.model_validate({"name": "s", "scheduler": "local"})
    (tmp_path / "j.sh").write_text(render(job, site, run=tmp_path, submission=1, command=[str(worker)]))
    process = subprocess.Popen(["bash", tmp_path / "j.sh"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    while "ready" not in process.stdout.readline():
        pass
    process.send_signal(signal.SIGUSR1)
    time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    out = process.stdout.read()
    assert process.wait(timeout=20) == 75
    assert "SIGUSR1 SIGUSR2" in out and "exit code 75" in out
