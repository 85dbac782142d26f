"""The command line: quick to start, explains itself, and says errors in a sentence."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from hpckit.cli import _COMMANDS, cli, main


def test_help_imports_click_and_little_else():
    code = (
        "import sys\nbefore = set(sys.modules)\nfrom hpckit.cli import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\nprint(*set(sys.modules) - before, file=sys.stderr)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(result.stderr.split())
    assert {name.partition(".")[0] for name in loaded} - sys.stdlib_module_names == {"hpckit", "click"}
    assert len([name for name in loaded if name.startswith("hpckit")]) < 10
    assert "Production" in result.stdout and "quicklook" in result.stdout


def test_the_local_queue_starts_by_the_standard_library_alone():
    # It is started for each job, and for each look at jobs.
    code = (
        "import sys\nbefore = set(sys.modules)\nimport hpckit.sites.scheduler.localqueue\n"
        "print(*{name.partition('.')[0] for name in set(sys.modules) - before})"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(result.stdout.split()) - sys.stdlib_module_names == {"hpckit"}


def test_all_commands_are_imported_by_click_alone():
    # pip builds the manual pages in an environment that has hatchling and click.
    code = (
        "import sys\nimport click\nfrom hpckit.cli import cli\nbefore = set(sys.modules)\n"
        "context = click.Context(cli)\nfor name in cli.list_commands(context): cli.get_command(context, name)\n"
        "print(*{name.partition('.')[0] for name in set(sys.modules) - before})"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(result.stdout.split()) - sys.stdlib_module_names <= {"hpckit", "click"}


def commands():
    context = click.Context(cli)
    for section in _COMMANDS.values():
        for name in section:
            command = cli.get_command(context, name)
            if isinstance(command, click.Group):
                yield from ((f"{name} {inner}", sub) for inner, sub in command.commands.items())
            else:
                yield name, command


@pytest.mark.parametrize(("name", "command"), list(commands()))
def test_every_command_explains_itself_with_an_example(name, command, capsys):
    for flag in ("-h", "--help"):
        with pytest.raises(SystemExit) as caught:
            main([*name.split(), flag])
        assert caught.value.code == 0
    text = capsys.readouterr().out
    assert "Example" in text and f"hpckit {name}" in text


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["runn"], 2, "Did you mean 'run'?"),
        (["run"], 2, "Missing argument"),
        (["run", "nowhere.yaml"], 1, "no such file"),
        (["status", "nowhere.yaml"], 2, "does not exist"),
        (["tile", "1,2,3"], 1, "four numbers"),
        (["scenes", "list", "nowhere.parquet"], 1, "no such catalogue"),
        (["scenes", "list", "c.parquet", "--period", "May"], 2, "2024-03-01/2024-10-31"),
    ],
)
def test_errors_are_a_sentence_and_an_exit_code(arguments, code, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x").touch()
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    err = capsys.readouterr().err
    assert caught.value.code == code and words in err and "Traceback" not in err


def test_a_fault_of_our_own_is_called_one(monkeypatch, capsys):
    monkeypatch.setattr("hpckit.space.aoi.read_aoi", lambda *_: 1 / 0)
    with pytest.raises(SystemExit) as caught:
        main(["tile", "1,2,3,4"])
    assert caught.value.code == 1 and "an error in hpckit itself" in capsys.readouterr().err
    with pytest.raises(ZeroDivisionError):
        main(["--debug", "tile", "1,2,3,4"])


LEAVING = """\
import atexit, ctypes, sys, threading, time
import pyarrow
from hpckit.cli import main
libc = ctypes.CDLL(None)
libc.__cxa_atexit(libc.abort, None, None)  # as a destructor of a library that ends the process
atexit.register(print, "the end of Python")
threading.Thread(target=lambda: (time.sleep(0.2), print("a thread"))).start()
sys.argv[1:] = {words!r}
main()
"""


@pytest.mark.parametrize(("words", "code", "said"), [(["--version"], 0, "hpckit, version"), (["runn"], 2, "run")])
def test_no_library_ends_a_command_that_has_done_its_work(words, code, said):
    done = subprocess.run(
        [sys.executable, "-c", LEAVING.format(words=words)], capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stderr
    assert said in done.stdout + done.stderr
    assert done.stdout.endswith("a thread\nthe end of Python\n")


def test_output_that_cannot_be_written_is_no_success():
    program = "import pyarrow\nfrom hpckit.base.processes import leave\nprint('x')\nleave({})"
    for code, expected in ((0, 120), (3, 3)):
        with Path("/dev/full").open("w") as full:
            words = [sys.executable, "-c", program.format(code)]
            buffered = {**os.environ, "PYTHONUNBUFFERED": ""}
            done = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, check=False, env=buffered)
        assert done.returncode == expected, done.stderr
