"""Every command of README and documentation, run as it is written, in the order of its page.

`tests/doc_commands.py` finds them, and reads what comments in the pages say about them; `doc_servers.py` starts the
servers that they need.
"""

from __future__ import annotations

import functools
import shlex
import subprocess
from pathlib import Path

import pytest

from tests.doc_commands import ROOT, Command, pages, read, runs
from tests.integration.doc_servers import (  # noqa: F401 -- fixtures
    environment_of,
    key,
    prepared,
    with_bucket,
    with_catalogues,
    with_cluster,
    with_database,
    with_images,
    with_login,
    with_modules,
    with_pbs,
    with_pip,
    with_systemd,
)
from tests.login_samples import short_home

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(900)]

PAGES = {path.relative_to(ROOT).as_posix(): path for path in pages()}
WITH_COMMANDS = [name for name, path in PAGES.items() if not all(each.elsewhere for each in read(path).commands)]
SCRATCH = ROOT / "tests" / "servers" / "scratch.sh"
SERVE = """\
serving () {
  "$@" >serving.out 2>&1 & local pid=$!
  for _ in $(seq 300); do
    grep -q '^ *http' serving.out && break
    kill -0 $pid 2>/dev/null || break
    sleep 0.2
  done
  grep -q '^ *http' serving.out || { cat serving.out >&2; kill $pid 2>/dev/null; return 1; }
  kill $pid; wait $pid; [ $? -eq 0 ] || [ $? -eq 143 ]
}
"""
CRON = """\
cron () { (cd ~ && exec env -i HOME="$HOME" LOGNAME="$(id -un)" SHELL=/bin/sh PATH="$PATH" /bin/sh -c "$1"); }
"""


def script(found: list[Command]) -> str:
    """All commands of a page as one script of bash: it ends with the first command that does not end as it should."""
    lines = [SERVE, CRON, "page=$PWD"]
    for command in found:
        lines += [f"{{ {line}\n}} || exit 99" for line in command.before]
        if command.elsewhere:
            continue
        told = shlex.quote(f"{command.page}:{command.line}: {command.text}")
        lines.append(_line(command))
        lines.append(f'code=$?; [ $code -eq {command.code} ] || {{ echo {told} "ended with $code" >&2; exit 98; }}')
        lines += [f"{{ {line}\n}} || exit 99" for line in command.after]
    return "\n".join(lines) + "\n"


def _line(command: Command) -> str:
    if command.serves:
        return f"serving {command.text}"
    if command.cron:
        *_, line = command.text.split(maxsplit=5)
        return f"cron {shlex.quote(line)}"
    if command.typed:
        typed = "".join(f"{line}\n" for line in command.typed)
        return f"{{ {command.text}\n}} <<< {shlex.quote(typed)}"
    return command.text


@functools.cache
def new_root() -> tuple[str, ...]:
    """How to start a program that has mounts of its own; empty where the machine does not permit it."""
    for options in ("-m", "-rm"):
        command = ("unshare", options, "mount", "-t", "tmpfs", "none", "/mnt")
        if subprocess.run(command, capture_output=True, check=False).returncode == 0:
            return ("unshare", options)
    return ()


def in_scratch(folders: list[str], root: Path) -> list[str]:
    """Beginning of a command that may change these folders of the machine, in a root of its own."""
    if not folders:
        return []
    if not new_root():
        pytest.skip("this machine does not permit mounts of one's own (unshare)")
    root.mkdir()
    return [*new_root(), "sh", str(SCRATCH), str(root), " ".join(folders)]


@pytest.mark.parametrize("name", WITH_COMMANDS)
def test_commands_run_as_written(
    name: str,
    prepared: Path,  # noqa: F811
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    page = read(PAGES[name])
    (tmp_path / "page").mkdir()
    (tmp_path / "script").write_text(script(page.commands))
    with short_home() as home:
        environment = environment_of(prepared, home)
        for server in page.servers:
            environment |= request.getfixturevalue(f"with_{server}")(home)
        done = subprocess.run(
            [*in_scratch(page.scratch, tmp_path / "root"), "bash", str(tmp_path / "script")],
            cwd=tmp_path / "page",
            env=environment,
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # no terminal: what asks for a password reads what the page's comment types
            capture_output=True,
            text=True,
            timeout=600,  # two cores, with other tests beside
            check=False,
        )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    assert "Traceback" not in done.stderr


def test_what_other_files_run_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    read_pages = [read(path) for path in PAGES.values()]
    assert [reason for page in read_pages for reason in page.wrong] == []
    every = [command for page in read_pages for command in page.commands]
    others = [command for command in every if command.elsewhere]
    lost = [each for each in others if not runs(ROOT / each.elsewhere, each)]
    assert [f"{each.page}:{each.line}: {each.elsewhere} does not run {each.text}" for each in lost] == []
    with capsys.disabled():
        print(f"\n{len(every)} commands: {len(every) - len(others)} run here, {len(others)} in other files")
    assert len(every) >= 184
