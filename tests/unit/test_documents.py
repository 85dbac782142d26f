"""YAML files as people, tools and attackers write them: plain values, lines, bounded cost; and no password."""

from __future__ import annotations

import itertools
import string
import time
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpckit.base.credentials import check_dsn, find_secret
from hpckit.base.yamltext import YamlTextError, read_yaml
from hpckit.campaign.campaign import load_campaign
from hpckit.cli import main
from hpckit.errors import CampaignError, HpckitError, SiteError
from hpckit.sites.site import load_site

CAMPAIGN = """\
name: t
aoi: [4, 51, 5, 52]
period: 2024-01-01/2024-12-31
scenes: {paths: [scenes]}
cube: {bands: [B04]}
"""


def run(capsys, *words: str) -> tuple[int, str]:
    """Exit code and all output of a command line."""
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    told = capsys.readouterr()
    return int(ended.value.code or 0), told.out + told.err


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: 010", 10), ("a: 0o10", 8), ("a: 0x1F", 31), ("a: 1_000", 1000), ("a: 1e3", 1000.0), ("a: +1", 1),
        ("a: yes", "yes"), ("a: true", True), ("a: ~", None), ("a: 1:30:00", "1:30:00"), ("a: '1'", "1"),
        ("a: 2024-01-01", "2024-01-01"), ("a: 2024-99-99 99:99:99", "2024-99-99 99:99:99"), ("a: !!str 3", "3"),
        ("a: |\n  x\n  y\n", "x\ny\n"), ("a: [1, [2]]", [1, [2]]), ("a: {null: 1, 2.5: 2}", {"null": 1, "2.5": 2}),
    ],
)  # fmt: skip
def test_values(text, value):
    read, lines = read_yaml(text)
    assert read == {"a": value} and type(read["a"]) is type(value)
    assert lines[("a",)] == 1


def test_aliases_and_merge_keys_stand_for_what_they_name():
    text = "base: &b\n  x: 1\n  y: 2\none:\n  <<: *b\n  y: 3\ntwo: {<<: [{x: 5}, *b]}\nthree: *b\n"
    value, lines = read_yaml(text)
    assert value["one"] == {"x": 1, "y": 3} and value["two"] == {"x": 5, "y": 2} and value["three"] == value["base"]
    assert lines[("one", "x")] == 2 and lines[("one", "y")] == 6 and lines[("three",)] == 8


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a: 1\nb: *a", 2, "stands for nothing"), ("a: &x [1, *x]", 1, "stands for nothing"),
        ("a: 1\na: 2", 2, "stands here twice"), ("a:\n - {b: 1,\n b: 2}", 3, "stands here twice"),
        ("a: 1\n---\nb: 2", 2, "second document"), ("a: [1,\n2", 2, "not valid YAML"),
        ("a: 1\nb: .nan", 2, "no number"), ("a: -.inf", 1, "no number"), ("a: 1e999", 1, "no number"),
        ("a: " + "9" * 5000, 1, "5000 digits"), ("a: !!int x", 1, "no int"), ("a: !!binary aGk=", 1, "!!binary"),
        ("!!omap [a: 1]", 1, "!!omap"), ("a: !!set {x}", 1, "!!set"), ("a: !!str [x]", 1, "!!str"),
        ("a: !!map x", 1, "!!map"), ("a: !!timestamp 2024-01-01", 1, "!!timestamp"), ("a: !mine 1", 1, "!mine"),
        ("b: !!python/object/apply:os.system ['id']", 1, "os.system"), ("a: b\n\0", 2, "special characters"),
        ("? [a]\n: b", 1, "name of a field"), ("{[a]: b}", 1, "name of a field"), ("<<: 3", 1, "<< takes"),
        ("a: 1\nb: \"\\U99999999\"", None, "not valid YAML"), ("%YAML 9.9\n---\na: 1", 1, "not valid YAML"),
        ("a: " + "[" * 5000, 1, "deep"), ("- " * 5000, 1, "deep"), ("a: " + "{b: " * 500, 1, "deep"),
        ("x" * (2**20 + 1), None, "too large"),
    ],
)  # fmt: skip
def test_what_is_refused_has_its_line(text, line, words):
    with pytest.raises(YamlTextError, match="(?s).*" + words.replace("<<", r"\<\<")) as caught:
        read_yaml(text)
    assert caught.value.line == line


def bomb(width: int, depth: int, merge: bool) -> str:
    names = string.ascii_lowercase[: depth + 1]
    lines = ["a: &a {v: x}" if merge else "a: &a [" + "x," * width + "]"]
    for before, name in itertools.pairwise(names):
        inner = ",".join(f"*{before}" for _ in range(width))
        lines.append(f"{name}: &{name} {{k: [{inner}], <<: *{before}}}" if merge else f"{name}: &{name} [{inner}]")
    return "\n".join(lines)


@pytest.mark.parametrize(("width", "depth", "merge"), [(9, 9, False), (2, 24, False), (9, 9, True), (300, 3, False)])
def test_aliases_do_not_multiply(width, depth, merge):
    began = time.process_time()
    with pytest.raises(YamlTextError, match="counting what aliases stand for"):
        read_yaml(bomb(width, depth, merge))
    assert time.process_time() - began < 3


def test_aliases_do_not_deepen():
    nest = "a0: &a0 " + "[" * 20 + "x" + "]" * 20 + "\n"
    nest += "".join(f"a{n}: &a{n} {'[' * 20}*a{n - 1}{']' * 20}\n" for n in range(1, 60))
    with pytest.raises(YamlTextError, match="deep"):
        read_yaml(nest)


@settings(max_examples=150, deadline=None)
@given(st.text(st.sampled_from("ab:-[]{}&*!|>'\"%?,#\n \t<~01.e\\x\u2028\ufeff\x07"), max_size=60))
def test_any_text_is_read_or_refused_with_words(text):
    try:
        read_yaml(text)
    except YamlTextError as fault:
        assert str(fault)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\xef\xbb\xbf" + CAMPAIGN.encode(), None),
        (CAMPAIGN.replace("\n", "\r\n").encode(), None),
        (CAMPAIGN.encode("utf-16"), ":1: cannot be read as UTF-8"),
        (CAMPAIGN.encode() + b"# caf\xe9", ":6: cannot be read as UTF-8"),
        (b"", "mapping of fields"),
        (b"- a", "mapping of fields"),
        (CAMPAIGN.encode() + b"\0", ":6: not valid YAML"),
        (CAMPAIGN.encode() + b"7: x", ":6: 7: unknown field"),
        (CAMPAIGN.encode() + b"reductions: [{name: r, zones: z, id: i, bands: [B04], percentiles: [nan]}]", "0.p"),
    ],
)  # fmt: skip
def test_campaign_files(tmp_path, capsys, data, words):
    path = tmp_path / "c.yaml"
    path.write_bytes(data)
    if words is None:
        assert load_campaign(path).name == "t"
        return
    with pytest.raises(CampaignError) as caught:
        load_campaign(path)
    assert words in str(caught.value)
    code, output = run(capsys, "check", str(path))
    assert code == 1 and "an error in hpckit itself" not in output


# --- passwords

SECRET = "S3cr3tPW"


@pytest.mark.parametrize(
    "dsn",
    [
        f"postgresql://u:{SECRET}@h/db", f"postgres://u:{SECRET}@h/db", f"postgresql://u:{SECRET}/x@h/db",
        f"postgresql://u:x/{SECRET}@h/db", f"postgresql://u:{SECRET}?x@h/db", f"postgresql://u:{SECRET}#x@h/db",
        f"postgresql://u:a@{SECRET}@h/db", f"postgresql://u%3A{SECRET}@h/db", f"postgresql://u@h/db?password={SECRET}",
        f"postgresql://u@h/db?pass%77ord={SECRET}", f"postgresql://u@h/db?%70assword={SECRET}",
        f"postgresql://u@h/db?sslpassword={SECRET}", f"postgresql://u@h/db?PASSWORD={SECRET}",
        f"postgresql://u@h/db?sslmode=require&password={SECRET}", f"postgresql://h/?user=u&password={SECRET}",
        f"postgresql://u@h/db?dbname=x%20password%3D{SECRET}", f"postgresql://u@h,h2/db?password={SECRET}",
        f"host=h user=u password={SECRET}", f"host=h password = '{SECRET}'", f"host=h password='\\'{SECRET}'",
        f"PASSWORD={SECRET} host=h", f"POSTGRESQL://u:{SECRET}@h/db", f" postgresql://u:{SECRET}@h/db",
        f"postgresql+psycopg2://u:{SECRET}@h/db", f"postgresqll://u:{SECRET}@h/db", f"u:{SECRET}@h/db",
        f"postgresql://u@h:{SECRET}/db", f"postgresql://u@h/db?nosuch={SECRET}", f"postgresql://u@[{SECRET}",
        f"postgresql://u@h/db\n?password={SECRET}", f"postgresql://u@h/db?oauth_client_secret={SECRET}",
    ],
)  # fmt: skip
@pytest.mark.parametrize("store", ["{{dsn: {0}}}", "{0}", "{{path: {0}}}", "{{dns: {0}}}"])
def test_no_spelling_of_a_password_passes_or_is_printed(tmp_path, capsys, dsn, store):
    path = tmp_path / "c.yaml"
    quoted = '"' + dsn.replace("\\", "\\\\").replace("\n", "\\n") + '"'
    path.write_text(f"{CAMPAIGN}store: {store.format(quoted)}")
    if "path" in store and "://" not in dsn and find_secret(dsn) is None:
        return  # an odd name of a file
    with pytest.raises(CampaignError) as caught:
        load_campaign(path)
    assert SECRET not in str(caught.value) and ":6:" in str(caught.value)
    code, output = run(capsys, "check", str(path))
    assert code == 1 and SECRET not in output


@settings(max_examples=100, deadline=None)
@given(
    st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=12).filter(
        lambda text: not text.startswith(("$", "&", "<", "{", "'", '"'))
    ),
    st.sampled_from(["user", "quoted user", "query", "quoted query", "option in capitals"]),
    st.data(),
)
def test_any_password_is_found(password, where, data):
    word = "".join(data.draw(st.sampled_from([c, f"%{ord(c):02X}"])) for c in "password")
    dsn = {
        "user": f"postgresql://u:{password}@h/db",
        "quoted user": f"postgresql://u:{quote(password, safe='')}@h/db",
        "query": f"postgresql://u@h/db?{word}={password}",
        "quoted query": f"postgresql://u@h/db?sslmode=require&{word}={quote(password, safe='')}",
        "option in capitals": f"postgresql://u@h/db?{word.upper()}={password}",
    }[where]
    assert find_secret({"store": {"dsn": dsn}}) == ("store", "dsn")


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://u@h/db", "postgresql://u@h:5433/db", "postgresql:///db", "postgresql://?service=crops",
        "postgres://u@[::1]:5/db?sslmode=verify-full&sslrootcert=/etc/ca.pem", "postgresql://h1,h2:5433/db",
        "postgresql://u@%2Fvar%2Frun%2Fpg/db", "postgresql://u%40x@h/db", "postgresql://u@h/db?passfile=/h/u/.pgpass",
        "postgresql://hpckit@/db?host=/tmp/s&port=5433&options=-c%20search_path%3Dx",
    ],
)  # fmt: skip
def test_sound_dsns(tmp_path, dsn):
    check_dsn(dsn)
    path = tmp_path / "c.yaml"
    path.write_text(f"{CAMPAIGN}store: {{dsn: '{dsn}'}}")
    assert load_campaign(path).store.dsn == dsn


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("steps: [{name: s, each: tile, command: [psql, 'postgresql://u:S3cr3tPW@h/db']}]", "steps.0.command.1"),
        ("steps: [{name: s, each: tile, environment: {PGPASSWORD: S3cr3tPW}}]", "steps.0.environment.PGPASSWORD"),
        ("steps: [{name: s, setup: 'export PGPASSWORD=S3cr3tPW; x'}]", "steps.0.setup"),
        ("reductions: [{zones: 'PG:host=h password=S3cr3tPW'}]", "reductions.0.zones"),
        ("scenes: {stac: 'https://u:S3cr3tPW@h/stac'}", "scenes.stac"),
    ],
)
def test_passwords_elsewhere(tmp_path, text, place):
    path = tmp_path / "c.yaml"
    path.write_text(CAMPAIGN.replace("scenes:", "x:") + text)
    with pytest.raises(CampaignError, match=place) as caught:
        load_campaign(path)
    assert "S3cr3tPW" not in str(caught.value) and "pgpass" in str(caught.value)


@pytest.mark.parametrize("line", ["setup: export DB_PASSWORD='S3cr3tPW'", "environment: {PGPASSWORD: S3cr3tPW}"])
def test_passwords_in_site_files(tmp_path, line):
    path = tmp_path / "s.yaml"
    path.write_text(f"name: s\nscheduler: slurm\npartitions: [{{name: p}}]\n{line}\n")
    with pytest.raises(SiteError, match=r":4: .*a password must not stand in a site file") as caught:
        load_site(path)
    assert "S3cr3tPW" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "export PGPASSWORD=$(cat ~/.pw)", 'PGPASSWORD="$PW" psql', "docker://ubuntu:22.04@sha256:0a", "https://h:8080/x@y",
        "password: comes from ~/.pgpass", "{'PGPASSFILE': '/x'}", "a == b", "https://u@h/x",
    ],
)  # fmt: skip
def test_what_is_no_password(text):
    assert find_secret(text) is None


def test_store_repeats_no_password():
    pytest.importorskip("psycopg2", reason="psycopg2 is not installed")
    from hpckit.store.postgis import PostGis

    for dsn in (f"postgresql://u:{SECRET}/x@h/db", f"postgresql://u@h:{SECRET}/db", f"postgresql://u:{SECRET}"):
        with pytest.raises(HpckitError) as caught:
            PostGis(dsn).prepare()
        assert SECRET not in str(caught.value)
