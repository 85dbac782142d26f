"""Numbers as people read them: bytes, durations, walltimes, exit codes; and what this machine has."""

from __future__ import annotations

import os
import re
import resource
import signal
from pathlib import Path
from typing import Final

_NEAR: Final = 0.7
"""Part of the limit of the address space from which it is told: what was asked for in vain is not counted."""
_CGROUP_LIMITS: Final = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)

_READING_LEAST: Final = 8
_READING_MOST: Final = 16

_SIZE: Final = re.compile(r"(?P<number>\d+(?:\.\d+)?) *(?:(?P<unit>[kKMGTP])(?P<binary>i)?)?B?")
_SECONDS: Final = {"days": 86400, "hours": 3600, "minutes": 60, "seconds": 1}
_CLOCK: Final = re.compile(r"(?:(?P<days>\d+)-)?(?P<hours>\d+):(?P<minutes>\d{2})(?::(?P<seconds>\d{2}))?")
_SPAN: Final = re.compile(
    r"(?:(?P<days>[\d.]+) *d(?:ays?)?)? *(?:(?P<hours>[\d.]+) *h(?:ours?)?)? *"
    r"(?:(?P<minutes>[\d.]+) *m(?:in(?:utes?)?)?)? *(?:(?P<seconds>[\d.]+) *(?:s(?:ec(?:onds?)?)?)?)?"
)


def format_bytes(count: float) -> str:
    """`12.3 GiB`; binary units.

    >>> format_bytes(0), format_bytes(1536), format_bytes(20 * 2**30)
    ('0 B', '1.5 KiB', '20.0 GiB')
    """
    units = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
    power = 0
    while abs(count) >= 1023.95 and power < len(units) - 1:
        count /= 1024
        power += 1
    return f"{count:.0f} B" if power == 0 else f"{count:.1f} {units[power]}"


def parse_bytes(text: str | int) -> int:
    """Bytes of a size: `2TB`, `500 GB`, `1.5TiB`; a bare number is bytes.

    >>> parse_bytes("2TB"), parse_bytes("1.5 GiB"), parse_bytes(4096)
    (2000000000000, 1610612736, 4096)

    Raises
    ------
    ValueError
        If it is none of these, or zero.
    """
    match = _SIZE.fullmatch(str(text).strip())
    if match is None:
        raise ValueError("write a size like 500GB, 2TB or 1.5TiB")
    power = "BKMGTP".index((match["unit"] or "B").upper())
    count: int = round(float(match["number"]) * (1024 if match["binary"] else 1000) ** power)
    if count < 1:
        raise ValueError("a size must be more than nothing")
    return count


def format_duration(seconds: float) -> str:
    """`1 h 05 min`, `3 min 20 s`, `4.2 s`.

    >>> format_duration(4.2), format_duration(200), format_duration(3900)
    ('4.2 s', '3 min 20 s', '1 h 05 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    if seconds < 3600:
        return f"{int(seconds // 60)} min {int(seconds % 60):02d} s"
    return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60):02d} min"


def parse_walltime(text: str | int) -> int:
    """Seconds of a walltime: `90 min`, `24h`, `2d`, `36:00:00`, `2-12:00:00`; a bare number is seconds.

    >>> parse_walltime("24h"), parse_walltime("1-12:00:00"), parse_walltime("90min"), parse_walltime(60)
    (86400, 129600, 5400, 60)

    Raises
    ------
    ValueError
        If it is none of these, or zero.
    """
    match = _CLOCK.fullmatch(str(text).strip()) or _SPAN.fullmatch(str(text).strip())
    if match is None:
        raise ValueError("write a walltime like 90min, 24h, 2d, 36:00:00 or 1-12:00:00")
    parts = {name: float(value) for name, value in match.groupdict().items() if value is not None}
    seconds = sum(_SECONDS[name] * value for name, value in parts.items())
    if seconds < 1:
        raise ValueError("a walltime must be longer than nothing")
    return round(seconds)


def format_walltime(seconds: float) -> str:
    """`36:05:00`, as Slurm and PBS read it; rounded up to whole minutes, since Slurm counts in them.

    >>> format_walltime(129600), format_walltime(61)
    ('36:00:00', '00:02:00')
    """
    minutes = -(-int(-(-seconds // 1)) // 60)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:00"


def format_exit(code: int | None) -> str:
    """How a process ended, by the exit code that Python has of it.

    >>> format_exit(3), format_exit(-9), format_exit(-15)
    ('exit code 3', 'killed by SIGKILL (out of memory?)', 'killed by SIGTERM')
    """
    if code is None or -code not in set(signal.Signals):  # some numbers of signals have no name
        return f"exit code {code}"
    name = signal.Signals(-code).name
    return f"killed by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")


def available_memory() -> int:
    """Memory in bytes that processes here may use now: free memory, or what the control group leaves."""
    free = _meminfo().get("MemAvailable", 0)
    limits = []
    for path in (*_CGROUP_LIMITS, *_own_groups()):
        try:
            limits.append(int(path.read_text()))
        except (OSError, ValueError):
            continue
    return min([free, *limits])


def process_memory() -> int:
    """Memory in bytes that this process may still take: what is available, within its own limit (`ulimit -v`)."""
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit == resource.RLIM_INFINITY:
        return available_memory()
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    return max(0, min(available_memory(), limit - mapped))


RAISE_LIMIT: Final = "raise the limit (`ulimit -v unlimited`), or run on a compute node"
LEAST_ADDRESS_SPACE: Final = 700 * 2**20
"""Bytes that a process maps when it loads the libraries which read and write rasters and tables; as measured."""


def too_little_address_space() -> str:
    """What `ulimit -v` leaves to a process, if that is certainly too little to load all libraries; else empty."""
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit == resource.RLIM_INFINITY or limit >= LEAST_ADDRESS_SPACE:
        return ""
    return (
        f"the address space of a process is limited to {format_bytes(limit)} here by `ulimit -v`, "
        f"and {format_bytes(LEAST_ADDRESS_SPACE)} are needed"
    )


def tight_address_space() -> str:
    """What `ulimit -v` leaves to this process, if it came near that limit; else an empty text.

    Libraries tell of memory that they do not get in words of their own, or not at all.
    """
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit == resource.RLIM_INFINITY:
        return ""
    found = re.search(r"VmPeak:\s*(\d+) kB", Path("/proc/self/status").read_text())
    if found is None or int(found[1]) * 1024 < _NEAR * limit:
        return ""
    return f"the address space of a process is limited to {format_bytes(limit)} here by `ulimit -v`"


def _own_groups() -> list[Path]:
    """Limits of the control groups of this process, from its own upward: login nodes limit each user by one."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    (own, *_) = [line.removeprefix("0::/") for line in lines if line.startswith("0::/")] or [""]
    root = Path("/sys/fs/cgroup")
    return [folder / "memory.max" for folder in [root / own, *(root / own).parents] if folder.is_relative_to(root)]


def available_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0))


def reading_threads() -> int:
    """Threads that read files and compare them with checksums: hashing and decompressing let other threads work.

    More than cores where these are few, since a parallel file system takes its time for each file.
    """
    return max(_READING_LEAST, min(_READING_MOST, available_cores()))


def _meminfo() -> dict[str, int]:
    lines = Path("/proc/meminfo").read_text().splitlines()
    return {name: int(rest.split()[0]) * 1024 for name, _, rest in (line.partition(":") for line in lines)}


def format_count(number: int, one: str, many: str | None = None) -> str:
    """A number of things: `1 zone`, `2 zones`, `12,000 zones`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def format_large(number: float) -> str:
    """A number with three figures and a word for its size: `0`, `950`, `12.3 thousand`, `4.56 billion`."""
    for scale, word in ((1e12, "trillion"), (1e9, "billion"), (1e6, "million"), (1e3, "thousand")):
        if abs(number) >= 0.9995 * scale:
            return f"{_three_figures(number / scale)} {word}"
    return _three_figures(number)


def format_area(square_metres: float) -> str:
    """An area with three figures at least, in the unit that suits it: `820 m²`, `4.5 ha`, `1,234 km²`."""
    if abs(square_metres) >= 0.9995e6:
        return f"{_three_figures(square_metres / 1e6)} km²"
    if abs(square_metres) >= 0.9995e4:
        return f"{_three_figures(square_metres / 1e4)} ha"
    return f"{_three_figures(square_metres)} m²"


def _three_figures(number: float) -> str:
    return f"{number:,.0f}" if abs(number) >= 99.95 else f"{number:.3g}"
