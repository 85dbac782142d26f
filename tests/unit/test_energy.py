"""Energy of runs: what Slurm measured or only seems to, estimates by figures of the site, and what is unknown."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from hpckit.runs.journal import Entry, Journal, seconds_by_writer
from hpckit.sites.parts import Energy
from hpckit.sites.scheduler.model import Answer, Job, Resources, Sighting, State
from hpckit.sites.scheduler.slurm import Slurm
from hpckit.sites.site import Site
from hpckit.submissions.energy import by_writer, energy
from hpckit.submissions.follow import ElementState, look
from hpckit.submissions.submission import StageLayout, Submission, Submitted, create, save

FIGURES = {"watt_per_core": 5.0, "watt_per_gpu": 300.0, "pue": 1.2, "g_co2_per_kwh": 300.0}


def submission(folder: Path, figures=FIGURES, *, gpus: int = 0, elements: int = 3) -> Submission:
    path = create(folder / "run")
    site = Site.model_validate({"name": "s", "scheduler": "slurm", "energy": figures})
    resources = Resources(ranks=2, memory_mib=8000, gpus=gpus)
    stages = (StageLayout("ingest", elements, elements, 10.0, 10.0, resources),)
    jobs = (Job("i", "ingest", path / "i.sh", path / "logs", resources, count=elements),)
    made = Submission(path, site, stages, jobs)
    save(made, frozen="")
    made.record(Submitted("7", "i", "ingest", "i.sh", 0, elements))
    made.mark("committed")
    return made


def sacct(made: Submission, text: str) -> None:
    """What a look at the accounting leaves in the folder of a submission."""

    def runner(command):
        return Answer(command, 0, text if command.argv[0] == "sacct" else "", "")

    look(made, Slurm(), runner, details=True)


def line(index, *, elapsed=3600, joules="", step="", cores=4) -> str:
    return f"7_{index}{step}|COMPLETED|0:0|1|3601|{elapsed}|n1|{cores}|01:00:00|1K|1|{joules}\n"


def past(text):
    command = Slurm().history(["7"])
    return {(item.job, item.index): item for item in Slurm().read_history(Answer(command, 0, text, ""))}


def test_joules_of_a_job_are_read_beside_the_cluster():
    assert past(line(0, joules="123456"))["7", 0].energy_j == 123456
    command = Slurm().history(["7;rome"])
    text = "7_0|COMPLETED|0:0|1|2|1|n1|2|00:01|1K|1|rome|99\n"
    (seen,) = Slurm().read_history(Answer(command, 0, text, ""))
    assert (seen.job, seen.energy_j) == ("7;rome", 99.0)


@pytest.mark.parametrize("text", ["", "0", "4294967294", "18446744073709551614", "18446744073709551615", "-", "1.2K"])
def test_marks_for_no_value_are_no_joules(text):
    assert past(line(0, joules=text))["7", 0].energy_j is None


def test_steps_on_the_same_nodes_are_not_added():
    text = line(0) + line(0, joules="500", step=".batch") + line(0, joules="480", step=".0")
    assert past(text)["7", 0].energy_j == 500


def test_all_measured(tmp_path):
    made = submission(tmp_path)
    sacct(made, "".join(line(n, joules="3600000") for n in range(3)))
    used = energy([made], {})
    assert (used.measured, used.estimated, used.unknown) == (3, 0, 0)
    assert used.kwh == pytest.approx(3 * 1.2) and used.kg_co2 == pytest.approx(3 * 1.2 * 0.3)
    assert used.basis == "measured by Slurm for 3 of 3 jobs; PUE 1.2"


def test_some_measured_others_estimated(tmp_path):
    made = submission(tmp_path, gpus=1)
    sacct(made, line(0, joules="3600000") + line(1) + line(2, joules="0"))
    used = energy([made], {})
    assert (used.measured, used.estimated, used.core_hours, used.gpu_hours) == (1, 2, 8.0, 2.0)
    assert used.kwh == pytest.approx(1.2 * (1 + (8 * 5 + 2 * 300) / 1000))
    assert "measured by Slurm for 1 of 3 jobs; estimated from 8 core-hours and 2 GPU-hours for 2 of 3" in used.basis


def test_nothing_is_assumed_without_figures(tmp_path):
    made = submission(tmp_path, {})
    sacct(made, line(0, joules="3600000") + line(1) + line(2))
    used = energy([made], {})
    assert (used.measured_kwh, used.unknown, used.kwh, used.kg_co2) == (1.0, 2, None, None)
    assert used.text.startswith("unknown (measured by Slurm for 1 of 3 jobs; 2 of 3 jobs not measured")


def test_gpus_without_a_figure_are_unknown(tmp_path):
    made = submission(tmp_path, {"watt_per_core": 5.0}, gpus=2)
    sacct(made, line(0))
    assert energy([made], {}).kwh is None


def test_emissions_need_a_figure_of_their_own(tmp_path):
    made = submission(tmp_path, {"watt_per_core": 5.0})
    sacct(made, line(0))
    used = energy([made], {})
    assert used.kwh == pytest.approx(0.02) and used.kg_co2 is None
    assert "emissions unknown" in used.text and "without cooling" in used.text


def test_more_than_a_node_can_draw_is_no_measurement(tmp_path):
    made = submission(tmp_path)
    sacct(made, line(0, joules="4000000000"))  # a counter that began at another value: 1.1 MW for an hour
    used = energy([made], {})
    assert (used.measured, used.estimated) == (0, 1)


def test_figures_of_today_count_for_jobs_of_before(tmp_path):
    made = submission(tmp_path, {})
    sacct(made, line(0))
    assert energy([made], {}, {"s": Energy(**FIGURES)}).kwh == pytest.approx(0.02 * 1.2)


def entry(writer: str, seconds: float) -> Entry:
    return Entry("u", "ingest", "done", "x", "2026-11-30T20:00:00+00:00", seconds, writer)


def test_work_outside_of_jobs(tmp_path):
    entries = [entry("20261130T200000-0", 3600.0), entry("s0001-ingest-000/000001", 9e9)]
    used = energy([], by_writer(entries), {"": Energy(watt_per_core=10)})
    assert used.kwh == pytest.approx(0.01) and used.here == "estimated"
    assert used.basis.startswith("estimated from 1 core-hours for work outside of jobs")
    lost = energy([], by_writer(entries))
    assert lost.kwh is None and lost.here == "unknown" and "no site file has figures" in lost.basis
    assert energy([], {}).basis == "no work yet" and energy([], {}).kwh is None and not energy([], {}).begun


def test_journals_are_added_up_by_writer(tmp_path):
    entries = [entry("a-0", 1.5), entry("s0001-ingest-000/000001-r0", 2.0), entry("a-0", 2.0)]
    for item in entries:
        Journal(tmp_path, item.writer).append(item)
    assert seconds_by_writer(tmp_path) == by_writer(entries) == {"a-0": 3.5, "s0001-ingest-000/000001-r0": 2.0}
    assert seconds_by_writer(tmp_path / "none") == {}
    known = {"unit": "u", "stage": "ingest", "state": "done", "inputs": "x", "start": "2026", "seconds": 4.0}
    line = json.dumps(known, separators=(",", ":"))
    (tmp_path / "journal" / "odd.jsonl").write_text(f"{line}\n{line[:40]}")
    assert seconds_by_writer(tmp_path)[""] == 4.0


@given(
    st.lists(st.tuples(st.integers(1, 10**5), st.integers(1, 128), st.none() | st.integers(1, 10**6)), max_size=8),
    st.floats(1, 2),
)
def test_parts_add_up(tmp_path_factory, jobs, pue):
    made = submission(tmp_path_factory.mktemp("e"), {"watt_per_core": 7.0, "pue": pue}, elements=max(1, len(jobs)))
    seen = [
        ElementState("ingest", n, f"7_{n}", Sighting("7", n, State.SUCCEEDED, "", elapsed_s=s, cores=c, energy_j=j))
        for n, (s, c, j) in enumerate(jobs)
    ]
    content = {"time": 0.0, "seen": [asdict(item) for item in seen]}
    (made.path / "seen.json").write_text(json.dumps(content))
    used = energy([made], {})
    joules = sum(j if j is not None and j <= 20_000 * s else s * c * 7.0 for s, c, j in jobs)
    if jobs:
        assert used.kwh == pytest.approx(pue * joules / 3.6e6)
    assert used.measured + used.estimated == len(jobs) and used.unknown == 0


@pytest.mark.parametrize("wrong", [{"pue": 0.5}, {"watt_per_core": -1}, {"watt": 3}, {"g_co2_per_kwh": "nan"}])
def test_figures_that_make_no_sense(wrong):
    with pytest.raises(ValidationError):
        Site.model_validate({"name": "s", "scheduler": "slurm", "energy": wrong})
