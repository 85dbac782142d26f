"""What clusters say of themselves in odd words, and site files in odd styles."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hpckit.errors import LoginError
from hpckit.sites.jobscript.script import render
from hpckit.sites.login.copying import _see
from hpckit.sites.login.hosts import is_known
from hpckit.sites.login.ssh import _MARK, _MARKED, _WRAPPER, _answer
from hpckit.sites.places import site_files
from hpckit.sites.probe.sitefile import site_file
from hpckit.sites.scheduler.facts import Facts
from hpckit.sites.scheduler.model import Job, Resources
from hpckit.sites.scheduler.slurm import probe as slurm
from hpckit.sites.site import Site, find_site

LINE = "g|{z}|{m}|{l}|{gres}|4|NO|1-infinite\n"


def partition(z="2:32:1", m="256000", l="1-00:00:00", gres="(null)"):  # noqa: E741 (sinfo's letters)
    (found,) = slurm.read_partitions(LINE.format(z=z, m=m, l=l, gres=gres))
    return found


@pytest.mark.parametrize(
    ("gres", "kind", "count"),
    [
        ("gpu:4", None, 4),
        ("gpu:a100:4(S:0-1)", "a100", 4),
        ("gpu:1g.5gb:2", "1g.5gb", 2),
        ("gpu:a100_3g.20gb:4(S:0)", "a100_3g.20gb", 4),
        ("gpu:nvidia_a100_80gb_pcie_1g.10gb:14(S:0,2),shard:8", "nvidia_a100_80gb_pcie_1g.10gb", 14),
        ("craynetwork:4,gpu:mi250:8", "mi250", 8),
        ("gpu:2080ti:8(S:0-1)", "2080ti", 8),
        ("gres/gpu:h100:4", "h100", 4),
        ("gpu:v100:no_consume:2", "v100", 2),
        ("gpu_mem:80000", None, 0),
        ("(null)", None, 0),
    ],
)
def test_gpus_of_any_type_reach_the_job_script(tmp_path, gres, kind, count):
    found = partition(gres=gres)
    assert (found.gpu_type, found.gpus) == (kind, count)
    facts = Facts("slurm", "24.11.5", array_size=1001)
    facts.partitions = [found]
    path = tmp_path / "my.yaml"
    path.write_text(site_file(facts, "my"))
    again = find_site(str(path)).partition("g")
    assert (again.gpu_type, again.gpus) == (kind, count), "also as YAML"
    if count:
        job = Job("n", "signatures", tmp_path / "x.sh", tmp_path, Resources(gpus=1, partition="g"))
        text = render(job, find_site(str(path)), run=tmp_path, submission=1, command=["hpckit"])
        assert f"#SBATCH --gpus-per-node={kind + ':' if kind else ''}1\n" in text


@pytest.mark.parametrize(
    ("limit", "seconds"),
    [
        ("infinite", None), ("n/a", None), ("30", 1800), ("30:00", 1800), ("1:00:00", 3600), ("1-12", 129600),
        ("1-12:30", 131400), ("7-00:00:00", 604800), ("UNLIMITED", None), ("-", None),
    ],
)  # fmt: skip
def test_time_limits_as_slurm_writes_them(limit, seconds):
    assert partition(l=limit).walltime == seconds


def test_nodes_that_nobody_described_have_no_limits():
    empty = partition(z="0:0:0", m="0")
    assert empty.cores is None and empty.memory_mib is None
    assert partition(m="1").memory_mib is None, "what Slurm says where RealMemory is not set"
    assert partition(z="2+:32+:1+", m="256000+").cores == 64


@pytest.mark.parametrize(
    "text",
    [
        '{"name": "odd", "scheduler": "slurm", "title": "JSON"}',
        json.dumps({"name": "odd", "scheduler": "pbs"}, indent=2),
        '"name": odd\n"scheduler": slurm\n',
        "# comment\n{name: odd,\n scheduler: local}\n",
        "name: odd\nscheduler : slurm\n",
    ],
)
def test_a_site_file_is_known_in_every_style(tmp_path, text):
    (tmp_path / "odd.yaml").write_text(text)
    (tmp_path / "campaign.yaml").write_text("name: c\nnotes:\n- 'scheduler: slurm'\n")
    assert site_files([tmp_path])["odd"] == tmp_path / "odd.yaml"
    assert find_site("odd", [tmp_path]).name == "odd" and "campaign" not in site_files([tmp_path])


def test_a_broken_site_file_is_not_hidden(tmp_path):
    (tmp_path / "bad.yaml").write_text("name: [\nscheduler: slurm\n")
    assert "bad" in site_files([tmp_path])


def hashed(name: str) -> str:
    salt = b"0123456789abcdef0123"
    digest = hmac.new(salt, name.encode(), hashlib.sha1).digest()
    return f"|1|{base64.b64encode(salt).decode()}|{base64.b64encode(digest).decode()}"


@pytest.mark.parametrize(
    ("line", "known"),
    [
        ("near.example ssh-ed25519 AAAA", True),
        ("other,near.example ssh-ed25519 AAAA comment", True),
        ("*.example ssh-ed25519 AAAA", True),
        ("!near.example,*.example ssh-ed25519 AAAA", False),
        ("@cert-authority *.example ssh-ed25519 AAAA", True),
        ("@revoked near.example ssh-ed25519 AAAA", False),
        ("#near.example ssh-ed25519 AAAA", False),
        ("far.example ssh-ed25519 AAAA", False),
        (hashed("near.example") + " ssh-ed25519 AAAA", True),
        (hashed("far.example") + " ssh-ed25519 AAAA", False),
        ("|1|broken|x ssh-ed25519 AAAA", False),
    ],
)
def test_known_hosts_are_read_without_ssh_keygen(tmp_path, line, known):
    path = tmp_path / "known_hosts"
    path.write_text(f"{line}\n")
    assert is_known("near.example", path) is known


def test_known_hosts_at_another_port(tmp_path):
    path = tmp_path / "known_hosts"
    path.write_text("[near.example]:2222 ssh-ed25519 AAAA\n" + hashed("[far.example]:2222") + " ssh-ed25519 AAAA\n")
    assert is_known("[near.example]:2222", path) and is_known("[far.example]:2222", path)
    assert not is_known("near.example", path) and not is_known("n", path)
    assert not is_known("near.example", tmp_path / "none")


@pytest.mark.parametrize("noise", ["", "Welcome!\n", "quota: 80 %", "a\nb\n\n"])
def test_what_a_login_shell_prints_is_no_answer(noise):
    words = ["sh", "-c", _MARKED + _WRAPPER, "x", "sh", "-c", "echo one; echo two >&2; exit 7"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert _answer(noise + done.stdout) == "one\n" and _answer(noise + done.stderr) == "two\n"
    assert done.returncode == 7 and _MARK not in _answer(done.stdout)
    assert _answer("Connection closed") == "Connection closed"


@pytest.mark.parametrize(
    "stderr",
    [
        "protocol version mismatch -- is your shell clean?\nrsync error: protocol incompatibility (code 2)\n",
        "Received message too long 1466265710\nEnsure the remote shell produces no output\n",
    ],
)
def test_copies_that_such_a_shell_spoils_say_so(stderr):
    site = Site.model_validate({"name": "near", "scheduler": "slurm", "login": {"host": "h"}})
    session: Any = SimpleNamespace(site=site)
    with pytest.raises(LoginError, match="the login shell at near prints text") as caught:
        _see(session, subprocess.CompletedProcess([], 2, "", stderr))
    assert "~/.bashrc" in (caught.value.hint or "")


def test_the_login_node_s_command_is_a_setting():
    login = {"host": "h", "command": "~/my venv/bin/hpckit"}
    assert Site.model_validate({"name": "s", "scheduler": "slurm", "login": login}).login.command == login["command"]
    assert Path(login["command"]).name == "hpckit"
