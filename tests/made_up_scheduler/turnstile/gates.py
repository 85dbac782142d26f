"""The programs of Turnstile: each ticket is a folder of TURN_SPOOL, with a process that lets its people pass."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

SPOOL = Path(os.environ["TURN_SPOOL"])


def main(program: str, *words: str) -> int:
    if words[:1] == ("--about",):
        print("Turnstile 3.1, 2 gates")
        return 0
    if program == "tsend":
        print(f"ticket {send(list(words))}")
    elif program == "tlist":
        return mine() if words == ("--mine",) else max(map(show, words))
    elif program == "walk":
        walk(SPOOL / words[0])
    else:
        for ticket in words:
            (SPOOL / ticket / "shut").unlink(missing_ok=True)
            if program == "tdrop":
                (SPOOL / ticket / "thrown").touch()
    return 0


def send(words: list[str]) -> str:
    script = Path(words.pop())
    told = dict(re.findall(r"^#TURN (\w+)=(.*)$", script.read_text(), re.M))
    behind = [words[number + 1] for number, word in enumerate(words) if word == "--behind"]
    only = [int(words[number + 1]) for number, word in enumerate(words) if word == "--only"]
    if not {"name", "many", "abreast", "seconds", "out"} <= told.keys():
        sys.exit(f"{script} has no #TURN lines")
    number = 1
    while True:
        try:
            (SPOOL / f"t{number}").mkdir(parents=True)
            break
        except FileExistsError:
            number += 1
    folder = SPOOL / f"t{number}"
    if "--shut" in words:
        (folder / "shut").touch()
    places = only or list(range(int(told["many"])))
    write(folder / "people.json", dict.fromkeys(map(str, places), "queueing"))
    write(folder / "job.json", {**told, "script": str(script), "behind": behind, "from": str(Path.cwd())})
    process = [sys.executable, "-m", "turnstile.gates", "walk", folder.name]
    with (folder / "log").open("ab") as log:
        subprocess.Popen(process, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    return folder.name


def walk(folder: Path) -> None:
    job, people = read(folder / "job.json"), read(folder / "people.json")
    while not thrown(folder) and ((folder / "shut").exists() or any(not over(SPOOL / t) for t in job["behind"])):
        time.sleep(0.05)
    walking: dict[str, subprocess.Popen[bytes]] = {}
    limit = {}
    while not over(folder):
        for place in [each for each, word in people.items() if word == "queueing"]:
            if not thrown(folder) and len(walking) < int(job["abreast"]):
                walking[place], limit[place] = start(folder, job, place), time.time() + float(job["seconds"])
                people[place] = "walking"
            elif thrown(folder):
                people[place] = "thrown"
        for place, process in list(walking.items()):
            word = "thrown" if thrown(folder) else "late" if time.time() > limit[place] else ""
            if word:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            if word or process.poll() is not None:
                people[place] = word or f"left {process.returncode}"
                del walking[place]
        write(folder / "people.json", people)
        time.sleep(0.05)


def start(folder: Path, job: dict[str, str], place: str) -> subprocess.Popen[bytes]:
    told = {"TURN_TICKET": folder.name, "TURN_PLACE": place, "TURN_FROM": job["from"]}
    with Path(f"{job['out']}.{place}.out").open("ab") as out:
        return subprocess.Popen(
            ["bash", job["script"]],
            env={**os.environ, **told},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )


def show(ticket: str) -> int:
    folder = SPOOL / ticket
    if not (folder / "job.json").exists():
        print(f"no ticket {ticket}", file=sys.stderr)
        return 4
    people = read(folder / "people.json")
    for place, word in people.items():
        if word != "queueing":
            print(ticket, place, word)
    if "queueing" in people.values():
        print(ticket, "*", "shut" if (folder / "shut").exists() else "queueing")
    return 0


def mine() -> int:
    for path in SPOOL.glob("t*/job.json"):
        if not over(path.parent):
            job = read(path)
            print(path.parent.name, job["name"], job["script"], sep="\t")
    return 0


def over(folder: Path) -> bool:
    return not {"queueing", "walking"} & set(read(folder / "people.json").values())


def thrown(folder: Path) -> bool:
    return (folder / "thrown").exists()


def read(path: Path) -> dict[str, str]:
    return json.loads(path.read_text())


def write(path: Path, values: object) -> None:
    part = path.with_suffix(f".{os.getpid()}")
    part.write_text(json.dumps(values))
    part.replace(path)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
