"""qsub of the PBS stand-in: options, directives and limits, refused with the codes and words of OpenPBS 23.06.06."""

from __future__ import annotations

import getopt
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.servers.pbs.commands import Answer, RefusedError, Request
from tests.servers.pbs.daemon import Daemon
from tests.servers.pbs.model import VERSION, Spec, clock

_LETTERS: Final = "a:A:c:C:e:fhIj:J:k:l:m:M:N:o:p:P:q:r:R:S:u:v:VW:Xz"
_UNSUPPORTED: Final = "acIuX"
_USAGE: Final = "usage: qsub [options] [script | -- command [arg1 ...]]\n       qsub --version\n"
_ILLEGAL, _NO_SCRIPT, _ARRAY_TOO_LARGE, _BAD_VALUE = 2, 1, 3, 166
_UNKNOWN_QUEUE, _QUEUE_CLOSED, _UNKNOWN_RESOURCE, _OVER_LIMIT, _JOB_WIDE = 170, 173, 187, 188, 5
_TOO_MANY: Final = 15142 % 256
_KINDS: Final = {
    **dict.fromkeys(("ncpus", "mpiprocs", "ompthreads", "ngpus", "nodect", "nice"), "long"),
    **dict.fromkeys(("mem", "vmem", "pmem", "pvmem", "file"), "size"),
    **dict.fromkeys(("walltime", "cput", "pcput", "min_walltime", "max_walltime"), "time"),
    **dict.fromkeys(("arch", "host", "vnode", "software", "place", "select", "nodes"), "text"),
}
_PER_CHUNK: Final = ("ncpus", "mem", "mpiprocs", "ompthreads", "ngpus", "vmem")
_VALID: Final = {
    "J": r"\d+-\d+(:[1-9]\d*)?(%[1-9]\d*)?",
    "N": r"[\w+.-]{1,230}",
    "j": "oe|eo|n",
    "k": "d?(o|e|oe|eo)d?|n",
    "m": "n|j?[abe]+j?",
    "p": r"[+-]?\d{1,4}",
    "r": "[yn]",
    "R": "o|e|oe|eo",
}
_DEPENDENCIES: Final = ("after", "afterok", "afternotok", "afterany")


@dataclass
class _Options:
    letters: dict[str, str] = field(default_factory=dict)
    resources: dict[str, str] = field(default_factory=dict)
    attributes: dict[str, str] = field(default_factory=dict)

    def over(self, lower: _Options) -> _Options:
        """These, and what only the lower ones say."""
        return _Options(
            {**lower.letters, **self.letters},
            {**lower.resources, **self.resources},
            {**lower.attributes, **self.attributes},
        )


def qsub(daemon: Daemon, request: Request) -> Answer:
    """Take a job in and print its id."""
    if request.argv[1:] == ["--version"]:
        return Answer(f"pbs_version = {VERSION}\n")
    typed, rest = _parse(request.argv[1:])
    command = rest if "--" in request.argv and rest else []
    if len(rest) > 1 and not command:
        raise RefusedError(_ILLEGAL, _USAGE)
    name, script = "STDIN", ""
    if not command and (not rest or rest[0] == "-"):
        if request.stdin is None:
            return Answer(wants_stdin=True)
        script = request.stdin
    elif not command:
        path = Path(request.cwd, rest[0])
        name, script = path.name, _read(path)
    options = typed.over(_directives(script, typed.letters.get("C", "#PBS")))
    _check(options)
    spec = _spec(daemon, request, options, name, command)
    depend = _dependencies(daemon, options.attributes.get("depend", ""))
    _check_limits(daemon, spec)
    job = daemon.submit(spec, hold="h" in options.letters, depend=depend, script=script)
    return Answer("" if "z" in options.letters else f"{job.id}\n")


def _read(path: Path) -> str:
    if not path.exists():
        raise RefusedError(_NO_SCRIPT, "qsub: script file:: No such file or directory\n")
    if not path.is_file():
        raise RefusedError(_NO_SCRIPT, "qsub: script not a file\n")
    script = path.read_bytes().decode(errors="surrogateescape")
    if "\r\n" in script:
        raise RefusedError(_NO_SCRIPT, "qsub: script contains cr, lf\n")
    return script


def _parse(words: Sequence[str]) -> tuple[_Options, list[str]]:
    options = _Options()
    try:
        found, rest = getopt.gnu_getopt(list(words), _LETTERS)
    except getopt.GetoptError as error:
        raise RefusedError(_ILLEGAL, f"qsub: {error.msg}\n{_USAGE}") from error
    for option, value in found:
        letter = option[1]
        if letter in _UNSUPPORTED:
            raise RefusedError(_ILLEGAL, f"qsub: the stand-in has no -{letter}\n")
        if letter == "l":
            options.resources.update(_pairs(value, "l"))
        elif letter == "W":
            options.attributes.update(_attributes(value))
        elif letter == "r" and not re.fullmatch(_VALID["r"], value):
            raise _illegal("r")
        else:
            options.letters[letter] = value
    if options.letters.get("r") == "n" and "J" in options.letters:
        raise RefusedError(_ILLEGAL, f"qsub:  cannot submit non-rerunable Array Job\n{_USAGE}")
    return options, rest


def _directives(script: str, prefix: str) -> _Options:
    """Options in the lines before the first command."""
    options = _Options()
    for line in script.split("\n"):
        text = line.strip()
        if prefix and text.startswith(prefix):
            words = shlex.split(text[len(prefix) :])
            try:
                found, rest = _parse(words)
                if rest:
                    raise RefusedError(_ILLEGAL, "")
            except RefusedError as error:
                reason = str(error).replace(_USAGE, "")
                raise RefusedError(1, f"{reason}qsub: directive error: {' '.join(words)} \n") from error
            options = found.over(options)
        elif text and not text.startswith(("#", ":")):
            break
    return options


def _pairs(text: str, letter: str) -> dict[str, str]:
    pairs = dict(part.partition("=")[::2] for part in text.split(",") if part)
    if not pairs or not all(pairs) or not all(pairs.values()) or any(" " in name for name in pairs):
        raise _illegal(letter)
    return pairs


def _attributes(text: str) -> dict[str, str]:
    """`depend=afterok:1:2,afterany:3` is one attribute, though it has a comma."""
    pairs: dict[str, str] = {}
    for part in re.split(r",(?=\w+=)", text):
        name, _, value = part.partition("=")
        if not value or name not in ("depend", "umask", "group_list", "max_run_subjobs"):
            raise _illegal("W")
        pairs[name] = value
    return pairs


def _check(options: _Options) -> None:
    letters = options.letters
    for letter, pattern in _VALID.items():
        if letter in letters and re.fullmatch(pattern, letters[letter], re.ASCII) is None:
            raise _illegal(letter)
    if "J" in letters:
        # An array has at least two indices in its range; 5-1 and 5-5 have none to go through.
        start, end = re.split("[-:%]", letters["J"])[:2]
        if int(start) >= int(end):
            raise _illegal("J")
        if letters.get("r") == "n":
            raise RefusedError(1, "qsub:  cannot submit non-rerunable Array Job\n")


def _illegal(letter: str) -> RefusedError:
    return RefusedError(_ILLEGAL, f"qsub: illegal -{letter} value\n{_USAGE}")


def _spec(daemon: Daemon, request: Request, options: _Options, name: str, command: list[str]) -> Spec:
    letters = options.letters
    queue = letters.get("q", "").partition("@")[0] or next(iter(daemon.queues))
    resources = dict(options.resources)
    kinds = {**_KINDS, **daemon.settings["resources"]}
    for resource, value in resources.items():
        _check_resource(kinds, resource, value)
    if queue not in daemon.queues:
        raise RefusedError(_UNKNOWN_QUEUE, "qsub: Unknown queue\n")
    for limit, value in daemon.queues[queue].items():
        if limit.startswith("resources_default."):
            resources.setdefault(limit.partition(".")[2], str(value))
    chunks = _select(kinds, resources)
    for resource in resources:
        resources[resource] = _normal(kinds[resource], resources[resource])
    walltime = resources.get("walltime")
    name = letters.get("N", name)
    if re.fullmatch(_VALID["N"], name, re.ASCII) is None:
        raise _illegal("N")
    first, last, step, throttle = _array(letters.get("J", ""))
    number = str(daemon.next_number) + (".^array_index^" if throttle is not None else "")
    extra = {"A": "Account_Name", "P": "project", "R": "R"}
    account = {attribute: letters[letter] for letter, attribute in extra.items() if letter in letters}
    limit_text = options.attributes.get("max_run_subjobs", "")
    return Spec(
        name=name,
        queue=queue,
        resources=resources,
        chunks=chunks,
        walltime_s=None if walltime is None else _seconds(walltime),
        variables=_variables(daemon, request, letters, queue),
        output=_path(daemon, request.cwd, letters.get("o"), f"{name}.o{number}"),
        error=_path(daemon, request.cwd, letters.get("e"), f"{name}.e{number}"),
        arguments=" ".join(request.argv[1:]),
        command=command,
        indices=list(range(first, last + 1, step)) if throttle is not None else [],
        submitted=letters.get("J", "").partition("%")[0],
        throttle=throttle or (int(limit_text) if limit_text.isdigit() else None),
        shell=letters.get("S", ""),
        join=letters.get("j", "n"),
        keep=letters.get("k", "n"),
        mail=letters.get("m", "a"),
        priority=int(letters.get("p", "0")),
        extra={
            **account,
            "Rerunable": "False" if letters.get("r") == "n" else "True",
            **{key: value for key, value in options.attributes.items() if key == "umask"},
        },
    )


def _array(text: str) -> tuple[int, int, int, int | None]:
    """First, last, step and throttle; the throttle is None where there is no array, 0 where it has none."""
    match = re.fullmatch(r"(\d+)-(\d+)(?::(\d+))?(?:%(\d+))?", text)
    if match is None:
        return 0, 0, 1, None
    first, last, step, throttle = match.groups()
    return int(first), int(last), int(step or 1), int(throttle or 0)


def _check_resource(kinds: Mapping[str, str], name: str, value: str) -> None:
    if name not in kinds:
        raise RefusedError(_UNKNOWN_RESOURCE, f"qsub: Unknown resource Resource_List.{name}\n")
    patterns = {
        "long": r"-?\d+",
        "size": r"\d+([kmgtp]?[bw])?",
        "time": r"\d+(:\d+){0,2}(\.\d+)?",
        "text": r"\S+",
    }
    if re.fullmatch(patterns[kinds[name]], value, re.IGNORECASE) is None:
        raise RefusedError(_BAD_VALUE, f"qsub: Illegal attribute or resource value Resource_List.{name}\n")


def _select(kinds: Mapping[str, str], resources: dict[str, str]) -> list[dict[str, int]]:
    """Chunks; the job-wide sums are added to the resources, as the server does."""
    place = "free" if "select" in resources else "pack"
    if "nodes" in resources:
        nodes, _, cores = resources.pop("nodes").partition(":ppn=")
        cores = cores or "1"
        resources["select"], place = f"{nodes}:ncpus={cores}:mpiprocs={cores}", "scatter"
    elif "select" not in resources:
        wide = [f"{name}={resources[name]}" for name in _PER_CHUNK if name in resources]
        wide = wide if any(part.startswith("ncpus=") for part in wide) else ["ncpus=1", *wide]
        resources["select"] = ":".join(["1", *wide])
    elif conflict := [name for name in _PER_CHUNK if name in resources]:
        text = f'qsub: "-lresource=" cannot be used with "select" or "place", resource is: {conflict[0]}\n'
        raise RefusedError(_JOB_WIDE, text)
    chunks = [_chunk(kinds, text) for text in resources["select"].split("+")]
    for name in ("ncpus", "mem", "mpiprocs", "ngpus"):
        given = f"{name}=" in resources["select"] or name == "ncpus"
        if given:
            total = sum(chunk["count"] * chunk.get(name, 0) for chunk in chunks)
            resources[name] = f"{total}kb" if name == "mem" else str(total)
    resources["nodect"] = str(sum(chunk["count"] for chunk in chunks))
    resources.setdefault("place", place)
    return chunks


def _chunk(kinds: Mapping[str, str], text: str) -> dict[str, int]:
    parts = text.split(":")
    count = int(parts.pop(0)) if parts[0].isdigit() else 1
    given = dict(part.partition("=")[::2] for part in parts)
    for name, value in given.items():
        _check_resource(kinds, name, value)
    numbers = {name: int(value) for name, value in given.items() if kinds[name] == "long"}
    memory = {name: _kib(value) for name, value in given.items() if kinds[name] == "size"}
    # One core each, and a line of the node file per chunk, where nothing else is said.
    return {"count": count, "ncpus": 1, "mpiprocs": 1, **numbers, **memory}


def _check_limits(daemon: Daemon, spec: Spec) -> None:
    limits = daemon.queues[spec.queue]
    if limits.get("enabled") == "False":
        raise RefusedError(_QUEUE_CLOSED, "qsub: Queue is not enabled\n")
    queued = sum(max(1, len(job.spec.indices)) for job in daemon.jobs.values() if job.state != "F")
    most = daemon.settings.get("max_queued")
    if most is not None and queued + max(1, len(spec.indices)) > most:
        raise RefusedError(_TOO_MANY, "qsub: would exceed complex's per-user limit\n")
    largest = min(int(source.get("max_array_size", 10**9)) for source in (limits, daemon.settings))
    if len(spec.indices) > largest:
        raise RefusedError(_ARRAY_TOO_LARGE, "qsub: Array job exceeds server or queue size limit\n")
    kinds = {**_KINDS, **daemon.settings["resources"]}
    for limit, bound in limits.items():
        side, _, name = limit.partition(".")
        if side not in ("resources_max", "resources_min") or name not in spec.resources:
            continue
        asked, allowed = _amount(kinds[name], spec.resources[name]), _amount(kinds[name], str(bound))
        if asked > allowed if side == "resources_max" else asked < allowed:
            raise RefusedError(_OVER_LIMIT, "qsub: Job violates queue and/or server resource limits\n")


def _amount(kind: str, value: str) -> float:
    return _seconds(value) if kind == "time" else _kib(value) if kind == "size" else float(value)


def _seconds(text: str) -> float:
    total = 0.0
    for part in text.split(":"):
        total = total * 60 + float(part)
    return total


def _kib(text: str) -> int:
    match = re.fullmatch(r"(\d+)([kmgtp]?)([bw]?)", text.lower())
    assert match is not None
    factor: int = 1024 ** " kmgtp".index(match[2] or " ")
    return -(-int(match[1]) * factor * (8 if match[3] == "w" else 1) // 1024)


def _normal(kind: str, value: str) -> str:
    """`3600` as 01:00:00 and `2048mb` as 2gb, as the server gives them back."""
    if kind == "time":
        return clock(_seconds(value))
    if kind != "size":
        return value
    size, units = _kib(value), iter(("mb", "gb", "tb", "pb"))
    unit = "kb"
    while size and size % 1024 == 0:
        size, unit = size // 1024, next(units)
    return f"{size}{unit}"


def _path(daemon: Daemon, cwd: str, given: str | None, default: str) -> str:
    """`vm:/absolute/path`; a folder gets its slash."""
    host, colon, path = (given or default).rpartition(":")
    absolute = os.path.join(cwd, path)  # noqa: PTH118 -- a slash at the end has a meaning here
    if Path(absolute).is_dir() and not absolute.endswith("/"):
        absolute += "/"
    return f"{host if colon else daemon.name}:{absolute}"


def _variables(daemon: Daemon, request: Request, letters: Mapping[str, str], queue: str) -> dict[str, str]:
    """PBS_O_*, and of the submitter's own environment only what -v names, or all of it with -V."""
    inherited = ("HOME", "LANG", "LOGNAME", "PATH", "MAIL", "SHELL", "TZ")
    variables = {f"PBS_O_{name}": request.env[name] for name in inherited if name in request.env}
    variables |= {"PBS_O_INTERACTIVE_AUTH_METHOD": "resvport", "PBS_O_INTERACTIVE_ENCRYPT_METHOD": ""}
    variables |= {"PBS_O_WORKDIR": request.cwd, "PBS_O_SYSTEM": "Linux"}
    if "V" in letters:
        ours = ("PBS_O_", "PBS_JOB", "PBS_ARRAY", "PBS_ENVIRONMENT", "PBS_NODE", "_=")
        variables |= {name: value for name, value in request.env.items() if not f"{name}=".startswith(ours)}
    for name, equals, value in _listed(letters.get("v", "")):
        if not equals and name not in request.env:
            raise RefusedError(1, "qsub: cannot send environment with the job\n")
        variables[name] = value if equals else request.env[name]
    return {**variables, "PBS_O_QUEUE": queue, "PBS_O_HOST": daemon.name}


def _listed(text: str) -> list[tuple[str, str, str]]:
    r"""`A=1,B="x,y",C`: names and values; a comma in quotes, or after a backslash, belongs to the value."""
    parts = re.findall(r"""((?:"[^"]*"|'[^']*'|\\.|[^,])+)""", text)
    cleaned = (re.sub(r"""(["'])(.*?)\1""", r"\2", part).replace("\\,", ",") for part in parts)
    return [part.partition("=") for part in cleaned]


def _dependencies(daemon: Daemon, text: str) -> list[list[str]]:
    depend: list[list[str]] = []
    for item in filter(None, text.split(",")):
        kind, *ids = item.split(":")
        if kind not in _DEPENDENCIES or not ids:
            raise _illegal("W")
        for identifier in ids:
            match = re.fullmatch(r"(\d+(?:\[\])?)((?:\.[\w.-]+)?)(@[\w.-]+)?", identifier)
            if match is None and re.fullmatch(r"\d+\[[\d:-]+\].*", identifier):
                raise RefusedError(_ILLEGAL, f"cannot have dependancy on subjob or range\n{_illegal('W')}")
            if match is None:
                raise _illegal("W")
            depend.append([kind, match[1] + (match[2] or f".{daemon.name}")])
    return depend
