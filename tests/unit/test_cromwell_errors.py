"""What the server's refusals mean: the table, on replies that a real Cromwell 92 has given."""

import json
import re

import pytest

from backends._cromwell.errors import Doing, IdTaken, NotInProgress, NotThere, explain, message_of
from pman_core.errors import BackendError, Rejected, Unavailable, Unparseable
from tests.unit.cromwell_recordings import RECORDED, read

MEANINGS: list[tuple[Doing, str, type[BackendError]]] = [
    (Doing.SUBMIT, "12a-post-same-id-immediately", IdTaken),
    (Doing.SUBMIT, "12b-post-same-id-after-succeeded", IdTaken),
    (Doing.SUBMIT, "110b-slurm-post-same-id", IdTaken),
    (Doing.SUBMIT, "14-post-invalid-id", Rejected),
    (Doing.SUBMIT, "15a-post-invalid-inputs-json", Rejected),
    (Doing.SUBMIT, "15c-post-unknown-part", Rejected),
    (Doing.SUBMIT, "15f-post-label-long", Rejected),
    (Doing.SUBMIT, "15g-post-options-bad", Rejected),
    (Doing.SUBMIT, "104-post-9MB-inputs", Rejected),
    (Doing.SUBMIT, "15h-post-not-multipart", Unavailable),
    (Doing.ASK, "24-status-unknown", NotThere),
    (Doing.ASK, "28-unknown-metadata", NotThere),
    (Doing.ASK, "100a-metadata-in-window", NotThere),
    (Doing.ASK, "26-unknown-path", Unavailable),
    (Doing.ASK, "25-status-malformed", Unparseable),
    (Doing.ASK, "43-query-status-bad", Unparseable),
    (Doing.ASK, "54-labels-patch-malformed-id", Unavailable),
    (Doing.ABORT, "65-abort-submitted-again", NotInProgress),
    (Doing.ABORT, "67-abort-unknown", NotInProgress),
    (Doing.ABORT, "101-abort-failed", NotInProgress),
    (Doing.ABORT, "69b-abort-get", Unavailable),
    (Doing.ABORT, "68-abort-malformed", Unparseable),
]


@pytest.mark.parametrize(("doing", "name", "meaning"), MEANINGS, ids=[name for _, name, _ in MEANINGS])
def test_a_recorded_refusal(doing: Doing, name: str, meaning: type[BackendError]) -> None:
    recording = read(name)
    assert type(explain(doing, recording.code, recording.body.encode())) is meaning


def test_both_texts_of_an_id_in_use_mean_one_thing() -> None:
    replies = re.findall(
        r'(\{  "status": "fail".*?\}) 400', (RECORDED / "12d-post-same-id-concurrently.txt").read_text()
    )
    texts = {json.loads(reply)["message"].split(":")[0] for reply in replies}
    assert texts == {"Requested workflow IDs are already in use", "integrity constraint violation"}
    assert {type(explain(Doing.SUBMIT, 400, reply.encode())) for reply in replies} == {IdTaken}


@pytest.mark.parametrize("code", [401, 403, 407, 408, 425, 429, 500, 502, 503, 504, 599])
@pytest.mark.parametrize("doing", Doing)
def test_what_passes_by_itself_is_unavailable(doing: Doing, code: int) -> None:
    assert type(explain(doing, code, b"<html>a proxy's page</html>")) is Unavailable


@pytest.mark.parametrize("code", [402, 418, 451])
def test_what_nobody_has_seen_is_said_to_be_unknown(code: int) -> None:
    assert type(explain(Doing.SUBMIT, code, b"{}")) is Unparseable


def test_a_text_is_one_line_and_cut() -> None:
    assert message_of(read("15a-post-invalid-inputs-json").body.encode()).startswith(
        "Error(s): Input file is not a valid yaml or json. Error: ParsingFailure"
    )
    assert message_of(b"<html>\n  a proxy\n</html>") == "<html> a proxy </html>"
    assert len(message_of(b"x" * 10_000)) == 600
    assert message_of(b"") == ""


def test_a_text_does_not_quote_inputs() -> None:
    refusal = {"message": "Error(s): Input file is not a valid yaml or json. Inputs data: 'PASSWORD'. Error: x"}
    assert "PASSWORD" not in message_of(json.dumps(refusal).encode())
