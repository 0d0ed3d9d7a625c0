"""What the server tells is read from replies that a real Cromwell 92 has given."""

import json
from datetime import UTC, datetime

import pytest

from backends._cromwell.replies import (
    DIGEST,
    GENERATION,
    INSTANCE,
    JID,
    Workflow,
    check_submitted,
    read_abort,
    read_account,
    read_object,
    read_page,
)
from backends._identity import Identity
from pman_core.errors import Unparseable
from tests.unit.cromwell_recordings import RECORDED, read

FAILED7 = "96982b8b-6f4f-51d9-85e9-d7c0f08a9869"
RETURN_CODE_7 = (
    "Job step.run:NA:1 exited with return code 7 which has not been declared as a valid return code. "
    "See 'continueOnReturnCode' runtime attribute for more details."
)


def body(name: str) -> bytes:
    return read(name).body.encode()


def last_json(name: str) -> bytes:
    """Return the metadata in a recording of a longer story."""
    lines = (RECORDED / f"{name}.txt").read_text().splitlines()
    return next(line for line in reversed(lines) if line.startswith("{") and '"calls"' in line).encode()


def test_a_query_with_labels() -> None:
    rows, total = read_page(body("45-query-id"))
    assert total == 2
    assert rows[0] == Workflow(
        id=FAILED7,
        status="Failed",
        labels={"job": "j1", "tenant": "acme", "cromwell-workflow-id": f"cromwell-{FAILED7}"},
        submitted_at=datetime(2026, 11, 23, 0, 55, 19, 717000, UTC),
        started_at=datetime(2026, 11, 23, 0, 55, 19, 797000, UTC),
        ended_at=datetime(2026, 11, 23, 0, 55, 35, 149000, UTC),
    )
    assert rows[0].has_ended
    assert rows[0].identity is None, "not one of ours"


def test_a_query_without_labels_and_one_without_results() -> None:
    rows, total = read_page(body("44-query-page"))
    assert (len(rows), total) == (2, 9)
    assert all(not row.labels for row in rows)
    assert read_page(body("44b-query-page9")) == ([], 9)
    assert read_page(body("45b-query-id-unknown")) == ([], 0)


def test_a_workflow_that_has_not_begun_has_neither_start_nor_end() -> None:
    rows, _ = read_page(body("40-query-all"))
    waiting = next(row for row in rows if row.status == "Submitted")
    assert (waiting.started_at, waiting.ended_at, waiting.has_ended) == (None, None, False)


@pytest.mark.parametrize(
    ("status", "is_the_end"),
    [
        *((status, False) for status in ("Submitted", "On Hold", "Running", "Aborting")),
        *((status, True) for status in ("Succeeded", "Failed", "Aborted")),
    ],
)
def test_three_statuses_are_an_end_and_aborting_is_none(status: str, is_the_end: bool) -> None:
    assert Workflow("id", status, {}).has_ended is is_the_end


def test_a_workflow_of_which_the_server_has_no_status_yet_spoils_no_page() -> None:
    fresh = {"id": "AB", "metadataArchiveStatus": "Unarchived", "submission": "2026-11-23T00:53:07.249Z"}
    rows, _ = read_page(json.dumps({"results": [fresh, fresh | {"status": None}], "totalResultsCount": 2}).encode())
    assert [(row.id, row.status, row.has_ended) for row in rows] == [("ab", "", False)] * 2


def test_the_labels_say_whose_it_is() -> None:
    labels = {INSTANCE: "pman", JID: "job", GENERATION: "01j", DIGEST: "abc"}
    assert Workflow("id", "Running", labels).identity == Identity("job", "01j", "pman", "abc")
    for missing in labels:
        assert Workflow("id", "Running", {**labels, missing: ""}).identity is None


def test_metadata_of_a_failed_call() -> None:
    for name in ("32-metadata-failed7-includekey", "33-metadata-failed7-full"):
        account = read_account(body(name))
        assert (account.status, account.return_code, account.native_id) == ("Failed", 7, "7406")
        assert account.messages == ("Workflow failed", RETURN_CODE_7)
        assert account.stderr.endswith(f"{FAILED7}/call-run/execution/stderr")
    assert read_account(body("33-metadata-failed7-full")).workflow_root.endswith(FAILED7)


def test_metadata_of_a_success() -> None:
    account = read_account(body("31-metadata-succeeded-includekey"))
    assert (account.status, account.return_code, account.messages) == ("Succeeded", 0, ())
    assert account.ended_at == datetime(2026, 11, 23, 0, 52, 1, 454000, UTC)


def test_metadata_of_a_wdl_that_does_not_parse_have_no_call() -> None:
    account = read_account(body("36-metadata-invalid-wdl"))
    assert (account.status, account.return_code, account.stderr) == ("Failed", None, "")
    assert account.messages[0] == "Workflow input processing failed"
    assert account.messages[1].startswith("ERROR: Unexpected symbol (line 7, col 1)")


def test_metadata_of_a_workflow_that_was_aborted_before_its_start() -> None:
    account = read_account(body("39-metadata-aborted-before-start"))
    assert (account.status, account.started_at, account.workflow_root) == ("Aborted", None, "")


def test_metadata_of_a_rejected_sbatch_have_neither_return_code_nor_job() -> None:
    account = read_account(body("99-slurm-sbatch-rejected"))
    assert (account.return_code, account.native_id) == (None, "")
    assert "Unable to start job" in account.messages[1]


def test_metadata_of_jobs_that_were_cancelled_by_hand() -> None:
    assert read_account(last_json("98-slurm-external-scancel")).return_code == 79
    # Its status was not asked for when it was recorded.
    lost = read_account(
        json.dumps(json.loads(last_json("84-ended-or-lost-while-down-slurm")) | {"status": "Failed"}).encode()
    )
    assert (lost.return_code, lost.native_id) == (None, "")
    assert lost.messages[1].startswith("Unable to determine that 153 is alive")


def test_an_abort_says_whether_anything_goes_on() -> None:
    assert read_abort(body("61-abort-fresh-within-404-window")) == "Aborted"
    assert read_abort(body("70-abort-running")) == "Aborting"


@pytest.mark.parametrize("status", ["Running", "Failed", ""])
def test_what_is_no_answer_to_an_abort_is_said_to_be_none(status: str) -> None:
    with pytest.raises(Unparseable):
        read_abort(json.dumps({"status": status}).encode())


def test_a_submit_is_confirmed_by_the_id_however_it_is_written() -> None:
    check_submitted(json.dumps({"id": FAILED7.upper(), "status": "Submitted"}).encode(), FAILED7)
    with pytest.raises(Unparseable):
        check_submitted(b'{"id": "another", "status": "Submitted"}', FAILED7)


@pytest.mark.parametrize(
    "text",
    ["", "not JSON", "[]", "{}", '{"results": 1, "totalResultsCount": 1}', '{"results": [{}], "totalResultsCount": 1}'],
)
def test_what_is_no_page_is_said_to_be_none(text: str) -> None:
    with pytest.raises(Unparseable):
        read_page(text.encode())


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"status": "Failed", "calls": []}', '{"status": "x", "end": "soon"}']
)
def test_what_is_no_metadata_is_said_to_be_none(text: str) -> None:
    with pytest.raises(Unparseable):
        read_account(text.encode())


def test_a_chain_of_causes_without_end_is_cut() -> None:
    failure: dict[str, object] = {"message": "0"}
    for depth in range(1, 100):
        failure = {"message": str(depth), "causedBy": [failure]}
    assert len(read_account(json.dumps({"status": "Failed", "failures": [failure]}).encode()).messages) < 50


def test_why_a_call_failed_is_told_after_why_its_workflow_did() -> None:
    call = {"failures": [{"message": "of the call", "causedBy": [{"message": "of  the\nsite"}]}]}
    metadata = {"status": "Failed", "failures": [{"message": "Workflow failed"}], "calls": {"run.job": [call]}}
    assert read_account(json.dumps(metadata).encode()).messages == ("Workflow failed", "of the call", "of the site")


def test_of_several_attempts_the_last_one_that_says_something_counts() -> None:
    attempts = [{"returnCode": 1, "jobId": "8"}, {"returnCode": 2, "jobId": "9"}, {}]
    told = read_account(json.dumps({"status": "Failed", "calls": {"run.job": attempts}}).encode())
    assert (told.return_code, told.native_id) == (2, "9")


def test_the_version() -> None:
    assert read_object(body("01-version")) == {"cromwell": "92"}
