"""The short version of dev/faults: real servers, processes that die, a database that goes away. Takes two to three
minutes."""

import json
import pathlib
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


@pytest.fixture(scope="module")
def results():
    finished = subprocess.run(
        [ROOT / "dev" / "faults", "--short", "--name", "test-faults"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=900, check=False,
    )  # fmt: skip
    if finished.returncode:
        pytest.fail(finished.stdout[-6000:])
    return json.loads((ROOT / ".dev" / "test-faults" / "results.json").read_text())


def test_fault_matrix(results):
    cells = results["matrix"]["cells"]
    assert len(cells) >= 20
    assert max(cell["accepted"] for cell in cells) == 1
    assert {cell["notice"] for cell in cells} == {"released", "failed", "unclear", "sent"}


@pytest.mark.parametrize("trial", ["sigkill", "database"])
def test_at_most_once(results, trial):
    found = results[trial]
    assert found["accepted_twice"] == found["sent_without_mail"] == found["mail_without_state"] == 0
    assert set(found["states"]) <= {"sent", "unclear"}
    assert sum(found["states"].values()) == found["notices"]


def test_kills_hit_the_handover(results):
    assert results["sigkill"]["kills_during_handover"] == results["sigkill"]["states"]["unclear"] >= 5


def test_pace(results):
    found = results["pace"]["intervals"]["1"]
    assert found["shortest_gap"] >= 1
    assert results["pace"]["first_handover"]["longest"] < 2
    assert results["pace"]["hourly_limit"]["most_in_any_hour"] <= results["pace"]["hourly_limit"]["limit"]
