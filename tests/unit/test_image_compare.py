"""Comparing images: what is in them, every kind of difference, and what it is put down to."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import struct
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from hpckit.cli.image import image
from hpckit.errors import ImageError
from hpckit.sites.image import source
from hpckit.sites.image.compare import compare, compare_images
from hpckit.sites.image.contents import Contents, ImageEntry, read_contents
from hpckit.sites.image.recipe import Recipe
from hpckit.sites.image.sif import parts

FILE = ImageEntry("-rw-r--r--", "0/0", "a", 1.0)
SITE = "opt/hpckit/lib/python3.11/site-packages"


def contents(entries: dict[str, ImageEntry], **more: dict[str, str]) -> Contents:
    values = {"labels": {}, "debian": {}, "python": {}, "origins": {}, **more}
    return Contents("Bootstrap: scratch", entries, **values)


@given(
    st.dictionaries(
        st.text("abc/", min_size=1, max_size=4),
        st.builds(
            ImageEntry, st.sampled_from(["-rw-r--r--", "drwxr-xr-x"]), st.just("0/0"), st.text("xy"), st.floats(0, 9)
        ),
    ),
    st.data(),
)
def test_what_is_the_same_has_no_difference_and_what_is_not_has_one(entries, data):
    first = contents(entries)
    assert compare(first, contents(dict(entries))).differences == ()
    if not entries:
        return
    path = data.draw(st.sampled_from(sorted(entries)))
    entry = entries[path]
    changed = data.draw(
        st.sampled_from(
            [
                replace(entry, content=entry.content + "!"),
                replace(entry, mode="lrwxrwxrwx"),
                replace(entry, mode=entry.mode[0] + "---------"),
                replace(entry, owner="7/7"),
                replace(entry, time=entry.time + 1),
                None,
            ]
        )
    )
    others = {**entries, path: changed} if changed else {name: entries[name] for name in entries if name != path}
    there, back = compare(first, contents(others)), compare(contents(others), first)
    assert [item.path for item in there.differences] == [item.path for item in back.differences] == [path]
    assert there.same is (there.differences[0].kind == "time") is back.same
    assert there.times == (1 if there.same else 0)


@pytest.mark.parametrize(
    ("path", "cause"),
    [
        ("usr/lib/libssl.so", "Debian's libssl, 3.0.1 -> 3.0.2"),
        (f"{SITE}/attr/x.py", "Python's attrs, 26.1 in both"),
        (f"{SITE}/attr/__pycache__/x.cpython-311.pyc", "Python's attrs, 26.1 in both"),
        (f"{SITE}/attr/__pycache__/x.cpython-313.opt-1.pyc", "Python's attrs, 26.1 in both"),
        ("opt/other/__pycache__/y.cpython-311.pyc", "caches and logs"),
        (".singularity.d/labels.json", "definition, labels and scripts of Apptainer"),
        ("var/lib/dpkg/status", "Debian's lists of packages"),
        ("etc/hostname", "settings of the machine that built"),
        ("etc/ssl/certs/x.0", "what packages wrote when they were set up"),
        ("srv/x", "not explained"),
    ],
)
def test_differences_are_put_down_to_causes(path, cause):
    origins = {"usr/lib/libssl.so": "debian libssl", f"{SITE}/attr/x.py": "python attrs"}
    first = contents({path: FILE}, debian={"libssl": "3.0.1"}, python={"attrs": "26.1"}, origins=origins)
    second = contents(
        {path: replace(FILE, content="b")}, debian={"libssl": "3.0.2"}, python={"attrs": "26.1"}, origins=origins
    )
    found = compare(first, second)
    assert list(found.causes) == [cause]
    assert found.labels == ("Debian's libssl: 3.0.1 -> 3.0.2",)


def sif(system: bytes, definition: bytes = b"Bootstrap: scratch\n") -> bytes:
    """An image as Apptainer lays it out: head, two descriptors, what they name."""
    head, part = "<32s10s3s3s16sqqqqqqqq", "<i?IIIqqqqqqq128s384s"
    table = struct.calcsize(head)
    start = table + 2 * struct.calcsize(part)
    rest = struct.pack("<ii3s", 1, 2, b"02\0")
    return b"".join(
        [
            struct.pack(
                head, b"#!x", b"SIF_MAGIC\0", b"01\0", b"02\0", b"", 0, 0, 0, 2, table, start - table, start,
                len(definition) + len(system),
            ),
            struct.pack(part, 0x4001, True, 1, 1, 0, start, len(definition), 0, 0, 0, 0, 0, b"", b""),
            struct.pack(
                part, 0x4004, True, 2, 1, 0, start + len(definition), len(system), 0, 0, 0, 0, 0, b"", rest
            ),
            definition,
            system,
        ]
    )  # fmt: skip


@pytest.fixture
def made(tmp_path: Path):
    """A function that makes an image of a folder."""
    program = shutil.which("mksquashfs", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if program is None or shutil.which("unsquashfs", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") is None:
        pytest.skip("squashfs-tools are not installed")

    def make(name: str, folder: Path) -> Path:
        packed = tmp_path / f"{name}.sqfs"
        subprocess.run([program, folder, packed, "-quiet", "-no-progress"], check=True, capture_output=True)
        path = tmp_path / f"{name}.sif"
        path.write_bytes(sif(packed.read_bytes()))
        return path

    return make


def test_an_image_is_read_as_it_was_made(made, tmp_path):
    root = tmp_path / "root"
    place = root / "opt" / "hpckit" / "lib" / "python3.11" / "site-packages"
    (place / "attrs-26.1.dist-info").mkdir(parents=True)
    (place / "attrs-26.1.dist-info" / "RECORD").write_text("attr/x.py,sha256=y,3\n../../../bin/attr,,\n")
    (root / "var/lib/dpkg/info").mkdir(parents=True)
    (root / "var/lib/dpkg/status").write_text(
        "Package: dash\nStatus: x\nVersion: 0.5-1\n\nPackage: gone\nStatus: y\n"
    )
    (root / "var/lib/dpkg/info/dash:amd64.list").write_text("/.\n/bin/dash\n")
    (root / "a file -> with arrows").write_text("text")
    (root / "closed").write_text("text")
    (root / "closed").chmod(0o4000)
    (root / "link").symlink_to("a file -> with arrows")
    os.utime(root / "closed", (7, 7))
    found = read_contents(made("x", root))
    assert found.definition == "Bootstrap: scratch\n"
    digest = hashlib.sha256(b"text").hexdigest()
    assert found.entries["a file -> with arrows"].content == digest
    closed = found.entries["closed"]
    assert (closed.mode, closed.content, closed.time) == ("---S------", digest, 7.0)
    assert found.entries["link"].mode[0] == "l" and found.entries["link"].content == "a file -> with arrows"
    assert found.debian == {"dash": "0.5-1"} and found.python == {"attrs": "26.1"}
    assert found.origin("usr/bin/dash") == "debian dash"
    assert found.origin("opt/hpckit/bin/attr") == "python attrs"


def test_the_command_tells_what_differs(made, tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    (root / "x").write_text("1")
    first = made("first", root)
    again = tmp_path / "again.sif"
    shutil.copyfile(first, again)
    same = CliRunner().invoke(image, ["compare", str(first), str(again)])
    assert same.exit_code == 0 and "to the byte" in same.stdout
    os.utime(root / "x", (5, 5))
    times = CliRunner().invoke(image, ["compare", str(first), str(made("times", root))])
    assert times.exit_code == 0 and "1 by their time alone" in times.stdout
    for number in range(9):
        (root / f"new {number}").touch()
    other = made("other", root)
    told = CliRunner().invoke(image, ["compare", str(first), str(other)])
    assert told.exit_code == 1 and "and 4 more: --all shows them" in told.stdout
    assert (
        CliRunner().invoke(image, ["compare", str(first), str(other), "--all"]).stdout.count("only in the second")
        == 9
    )
    found = json.loads(CliRunner().invoke(image, ["compare", str(first), str(other), "--json"]).stdout)
    assert found["same"] is False and len(found["causes"]["not explained"]) == 9


def test_images_that_cannot_be_read(made, tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    (root / "x").write_bytes(os.urandom(10_000))
    path = made("x", root)
    data = path.read_bytes()
    assert [part.kind for part in parts(path)] == ["definition", "file system"]
    path.write_bytes(data.replace(b"hsqs", b"hsqx"))
    with pytest.raises(ImageError, match="file system cannot be read"):
        read_contents(path)
    path.write_bytes(data[:-100])
    with pytest.raises(ImageError, match="truncated"):
        compare_images(path, path)
    path.write_bytes(data.replace(struct.pack("<i?", 0x4004, True), struct.pack("<i?", 0x4004, False)))
    with pytest.raises(ImageError, match="holds no file system"):
        read_contents(path)


def test_the_date_of_an_image_is_that_of_its_source(monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    assert source.date() == "1970-01-02T00:00:00Z"
    labels = Recipe(mirror="http://x/debian").labels
    assert labels["org.opencontainers.image.created"] == labels["org.label-schema.build-date"] == source.date()
    monkeypatch.delenv("SOURCE_DATE_EPOCH")
    assert source.epoch() > 1_700_000_000
