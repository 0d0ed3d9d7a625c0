"""What the API does with the store and the queue: once, in the right order, and never more than it must."""

from typing import Any

import pytest

from pman_core.backend import Capabilities
from pman_core.queues import Task
from pman_core.states import State
from pman_core.store.protocol import Obligation
from tests.unit.api_harness import BACKEND, PFCON_BODY, Harness

JID = PFCON_BODY["jid"]
OLD_KEYS = ("jid", "image", "cmd", "status", "message", "timestamp", "logs")


class TestWhatPfconDoes:
    """pfcon 5: no authentication header, paths with their last slash, JSON; 201, 200 and 204 or it is an error."""

    def test_a_job_from_beginning_to_end(self) -> None:
        harness = Harness()
        created = harness.http.post(
            "/api/v1/", json=PFCON_BODY, headers={"Accept": "application/json", "Accept-Encoding": "gzip, deflate"}
        )
        assert created.status_code == 201
        assert created.get_json()["status"] == "notstarted"
        harness.bring_to(State.RUNNING)
        polled = harness.http.get(f"/api/v1/{JID}/", headers={"Accept": "application/json"})
        assert (polled.status_code, polled.get_json()["status"]) == (200, "started")
        record = harness.record()
        assert record.cmd == "python3 /usr/local/bin/simplefsapp /share/outgoing"
        deleted = harness.http.delete(f"/api/v1/{JID}/", headers={"Accept": "application/json"})
        assert (deleted.status_code, deleted.data) == (204, b"")
        assert [sent[0] for sent in harness.publisher.sent if sent[0] != Task.REFRESH] == [Task.SUBMIT, Task.DELETE]

    def test_the_old_keys_are_all_strings_in_every_reply(self) -> None:
        harness = Harness()
        for reply in (harness.post(), harness.get(), harness.post()):
            assert all(type(reply.get_json()[key]) is str for key in OLD_KEYS)

    @pytest.mark.parametrize(
        ("method", "path", "status"),
        [
            ("GET", "/api/v1", 200),
            ("GET", "/api/v1/", 200),
            ("POST", "/api/v1", 201),
            ("POST", "/api/v1/", 201),
            ("GET", "/api/v1/known", 200),
            ("GET", "/api/v1/known/", 200),
            ("GET", "/api/v1/known//", 200),
            ("GET", "/api/v1//known/", 200),
            ("HEAD", "/api/v1/known/", 200),
            ("GET", "/api/v1/kn%6Fwn/", 200),
            ("DELETE", "/api/v1/known", 204),
            ("DELETE", "/api/v1//known//", 204),
            ("GET", "/jobs", 200),
            ("GET", "/jobs/", 200),
            ("GET", "/health", 200),
            ("GET", "/ready", 200),
            ("GET", "/api/v1//", 200),
            ("GET", "/api/v1/known/logs/", 404),
            ("GET", "/api/v1/%2e%2e/", 404),
            ("GET", "/api/v1/%00/", 404),
            ("GET", "/api/v1/%ff%fe/", 404),
            ("GET", "/", 404),
            ("GET", "/api/", 404),
            ("GET", "//api/v1/", 404),
            ("DELETE", "/api/v1/a/b/", 400),
            ("DELETE", "/api/v1/%00/", 400),
            ("DELETE", "/api/v1/", 405),
            ("PATCH", "/api/v1/known/", 405),
            ("POST", "/jobs/", 405),
        ],
    )
    def test_no_path_is_ever_a_redirect(self, method: str, path: str, status: int) -> None:
        harness = Harness()
        harness.post(jid="known")
        assert harness.http.open(path, method=method, json=PFCON_BODY).status_code == status


class TestPost:
    def test_a_new_job_is_created_and_then_enqueued_once(self) -> None:
        harness = Harness()
        reply = harness.post()
        assert harness.record().state is State.QUEUED
        assert harness.publisher.sent == [(Task.SUBMIT, JID, reply.get_json()["generation"], "")]

    def test_the_same_body_in_another_spelling_changes_nothing(self) -> None:
        harness = Harness()
        first = harness.post(args_path_flags=["--b", "--a"])
        again = harness.post(
            args_path_flags=["--a", "--b", "--a"], cpu_limit=1000, output_dir="/key-chris-jid-1/outgoing/"
        )
        assert again.status_code == 201
        assert again.get_json()["generation"] == first.get_json()["generation"]
        assert len(harness.publisher.sent) == 1

    @pytest.mark.parametrize(
        "changes", [{"cpu_limit": 1001}, {"args": ["x"]}, {"env": ["A=1"]}, {"auid": "other"}, {"type": "ds"}]
    )
    def test_another_body_under_the_same_jid_is_a_conflict(self, changes: dict[str, object]) -> None:
        harness = Harness()
        harness.post()
        before = harness.record()
        assert harness.post(**changes).status_code == 409
        assert harness.record() == before
        assert len(harness.publisher.sent) == 1

    def test_after_a_delete_the_jid_is_free_again(self) -> None:
        harness = Harness()
        old = harness.post().get_json()["generation"]
        harness.delete()
        reply = harness.post(image="fnndsc/pl-other")
        assert reply.status_code == 201
        assert reply.get_json()["generation"] > old

    @pytest.mark.parametrize("answer", [False, OSError("broker"), ValueError("a defect of the client library")])
    def test_what_becomes_of_the_enqueue_does_not_matter(self, answer: bool | Exception) -> None:
        harness = Harness()
        harness.publisher.answer = answer
        assert harness.post().status_code == 201
        assert harness.get().status_code == 200
        assert list(harness.store.active(BACKEND)) == [JID]

    def test_nothing_is_enqueued_that_was_not_stored(self) -> None:
        harness = Harness()
        harness.store.away = {"create"}
        assert harness.post().status_code == 503
        assert not harness.publisher.sent


class TestCapabilities:
    def test_while_no_worker_has_spoken_everything_is_accepted(self) -> None:
        assert Harness().post(gpu_limit=8, number_of_workers=99).status_code == 201

    def test_what_the_backend_cannot_do_is_refused_with_every_reason(self) -> None:
        harness = Harness()
        harness.report(Capabilities(any_image=False, any_image_hint="no", number_of_workers_max=4))
        reply = harness.post(gpu_limit=8, number_of_workers=5)
        assert reply.status_code == 400
        fields = [error["field"] for error in reply.get_json()["errors"]]
        assert fields == ["image", "number_of_workers", "gpu_limit"]
        assert harness.is_untouched()

    def test_what_it_can_do_is_accepted(self) -> None:
        harness = Harness()
        harness.report(Capabilities(gpus=True, number_of_workers_max=None))
        assert harness.post(gpu_limit=8, number_of_workers=5).status_code == 201

    @pytest.mark.parametrize(
        ("settings", "code"),
        [
            ({}, 201),
            ({"timelimit_minutes": 60}, 400),
            ({"timelimit_minutes": 60, "timelimit_max_minutes": 90}, 201),
            ({"timelimit_max_minutes": 89}, 400),
        ],
    )
    def test_more_time_than_the_site_gives_is_refused_by_name(self, settings: dict[str, int], code: int) -> None:
        harness = Harness(**settings)
        reply = harness.post(time_limit=90)
        assert reply.status_code == code
        if code == 400:
            assert [error["field"] for error in reply.get_json()["errors"]] == ["time_limit"]
            assert harness.is_untouched()

    def test_a_worker_that_has_just_spoken_is_heard_at_once(self) -> None:
        harness = Harness()
        assert harness.post(jid="a", gpu_limit=8).status_code == 201
        harness.report(Capabilities())
        assert harness.post(jid="b", gpu_limit=8).status_code == 400

    def test_the_report_is_read_every_few_seconds_only(self) -> None:
        harness = Harness()
        harness.report(Capabilities())
        harness.store.calls.clear()
        for n in range(5):
            harness.post(jid=f"a{n}")
        assert harness.store.calls == ["report", *["create"] * 5]
        harness.clock.at_s += 3
        harness.post(jid="b")
        assert harness.store.calls[-2:] == ["report", "create"]

    def test_a_new_report_counts_after_a_few_seconds(self) -> None:
        harness = Harness()
        assert harness.post(jid="a", gpu_limit=1).status_code == 201
        harness.report(Capabilities(gpus=False))
        harness.clock.at_s += 3
        assert harness.post(jid="b", gpu_limit=1).status_code == 400

    def test_without_the_store_nothing_is_assumed(self) -> None:
        harness = Harness()
        harness.store.away = {"report"}
        assert harness.post().status_code == 503
        harness.store.away = set()
        assert harness.post().status_code == 201


class TestGet:
    def test_it_is_one_read_of_the_store(self) -> None:
        harness = Harness()
        harness.post()
        harness.store.calls.clear()
        harness.get()
        assert harness.store.calls == ["read"]

    def test_a_malformed_jid_does_not_even_reach_the_store(self) -> None:
        harness = Harness()
        assert harness.get("a:b").status_code == 404
        assert harness.store.calls == []


class TestLiveLogs:
    def running(self, host: str = "", **settings: float) -> Harness:
        harness = Harness(**settings)
        harness.post()
        harness.bring_to(State.RUNNING, host=host)
        harness.publisher.sent.clear()
        harness.store.calls.clear()
        return harness

    def test_a_polled_running_job_has_its_log_read_on_its_host(self) -> None:
        harness = self.running(host="node-7")
        harness.get()
        assert harness.publisher.sent == [(Task.REFRESH, JID, harness.record().generation, "node-7")]

    def test_however_often_it_is_polled_only_once_in_a_while(self) -> None:
        harness = self.running()
        for _ in range(61):
            harness.get()
            harness.clock.at_s += 1
        assert len(harness.publisher.sent) == 4
        assert harness.store.calls.count("claim_refresh") <= 10

    def test_each_job_has_its_own_turn(self) -> None:
        harness = self.running()
        harness.post(jid="other")
        harness.bring_to(State.RUNNING, jid="other")
        harness.publisher.sent.clear()
        for jid in (JID, "other", JID, "other"):
            harness.get(jid)
        assert [sent[:2] for sent in harness.publisher.sent] == [(Task.REFRESH, JID), (Task.REFRESH, "other")]

    @pytest.mark.parametrize("state", [state for state in State if state is not State.RUNNING])
    def test_only_running_jobs_have_one(self, state: State) -> None:
        harness = Harness()
        harness.post()
        if state is not State.QUEUED:
            harness.bring_to(state)
        harness.publisher.sent.clear()
        harness.get()
        assert harness.publisher.sent == []

    def test_zero_turns_it_off(self) -> None:
        harness = self.running(live_logs_s=0.0)
        harness.get()
        assert harness.store.calls == ["read"]
        assert harness.publisher.sent == []

    def test_a_backend_without_live_logs_is_not_asked(self) -> None:
        harness = self.running()
        harness.clock.at_s += 60
        harness.report(Capabilities(live_logs=False))
        harness.get()
        assert harness.publisher.sent == []

    @pytest.mark.parametrize("method", ["claim_refresh", "report"])
    def test_its_failure_does_not_concern_the_reader(self, method: str) -> None:
        harness = self.running()
        harness.clock.at_s += 60
        harness.store.away = {method}
        assert harness.get().status_code == 200

    @pytest.mark.parametrize("answer", [False, ValueError("a defect of the client library")])
    def test_nor_does_the_failure_of_the_queue(self, answer: bool | Exception) -> None:
        harness = self.running()
        harness.publisher.answer = answer
        assert harness.get().status_code == 200


class TestDelete:
    def test_it_is_enqueued_on_the_host_of_the_job(self) -> None:
        harness = Harness()
        harness.post()
        harness.bring_to(State.PENDING, host="node-7")
        generation = harness.record().generation
        assert harness.delete().status_code == 204
        assert harness.publisher.sent[-1] == (Task.DELETE, JID, generation, "node-7")
        assert harness.get().status_code == 404

    def test_repeats_and_unknown_jobs_are_204_and_enqueue_nothing(self) -> None:
        harness = Harness()
        harness.post()
        assert [harness.delete().status_code for _ in range(3)] == [204] * 3
        assert harness.delete("never-seen").status_code == 204
        assert [sent[0] for sent in harness.publisher.sent] == [Task.SUBMIT, Task.DELETE]

    @pytest.mark.parametrize("answer", [False, ValueError("a defect of the client library")])
    def test_what_becomes_of_the_enqueue_does_not_matter(self, answer: bool | Exception) -> None:
        harness = Harness()
        harness.post()
        harness.publisher.answer = answer
        assert harness.delete().status_code == 204
        assert [obligation.jid for obligation in harness.store.obligations(BACKEND, 10)] == [JID]

    def test_the_observer_comes_only_if_the_message_has_not_done_it(self) -> None:
        harness = Harness()
        harness.post()
        harness.delete()
        assert harness.store.obligations(BACKEND, 10) == []
        harness.clock.at_s += 11
        assert [obligation.jid for obligation in harness.store.obligations(BACKEND, 10)] == [JID]

    def test_nor_in_the_moment_before_the_message_is_out(self, monkeypatch: pytest.MonkeyPatch) -> None:
        harness = Harness()
        harness.post()
        due: list[list[Obligation]] = []

        def publish(*_: Any) -> bool:
            due.append(harness.store.obligations(BACKEND, 10))
            return True

        monkeypatch.setattr(harness.publisher, "publish", publish)
        assert harness.delete().status_code == 204
        assert due == [[]]

    def test_a_store_that_goes_away_after_the_delete_does_not_matter(self) -> None:
        harness = Harness()
        harness.post()
        harness.publisher.answer = False
        harness.store.away = {"postpone"}
        assert harness.delete().status_code == 204
        harness.clock.at_s += 11
        assert [obligation.jid for obligation in harness.store.obligations(BACKEND, 10)] == [JID]

    @pytest.mark.parametrize("jid", ["a:b", "a%20b", "a%2Fb", "%0A", "a%0Ab", "%2E%2E", "%00"])
    def test_a_malformed_jid_leaves_no_tombstone(self, jid: str) -> None:
        harness = Harness()
        assert harness.delete(jid).status_code == 400
        assert harness.store.calls == []


class TestList:
    def test_pages_lead_through_all_jobs_newest_first(self) -> None:
        harness = Harness()
        for n in range(5):
            harness.clock.at_s += 1
            harness.post(jid=f"job-{n}")
        shown: list[str] = []
        query = {"limit": "2"}
        for _ in range(3):
            page = harness.http.get("/jobs/", query_string=query).get_json()
            shown += [job["jid"] for job in page["jobs"]]
            query["cursor"] = page["next"]
        assert shown == ["job-4", "job-3", "job-2", "job-1", "job-0"]
        assert page["next"] is None

    @pytest.mark.parametrize("limit", ["", "0", "-1", "1001", "ten", "1.5", "²", "99999999999999999999"])
    def test_a_bad_limit_is_named(self, limit: str) -> None:
        reply = Harness().http.get("/jobs/", query_string={"limit": limit})
        assert reply.status_code == 400
        assert [error["field"] for error in reply.get_json()["errors"]] == ["limit"]

    @pytest.mark.parametrize(
        "cursor",
        ["x", "%00", "zzz zzz", "(", "+", "-", "[", "\ud800", "%FF", "0" * 26, "0" * 26 + " ", "0" * 26 + " a/b"],
    )
    def test_what_is_no_cursor_is_refused(self, cursor: str) -> None:
        reply = Harness().http.get(f"/jobs/?cursor={cursor}".encode(errors="replace").decode())
        assert reply.status_code == 400
        assert [error["field"] for error in reply.get_json()["errors"]] == ["cursor"]

    def test_an_empty_cursor_is_the_first_page(self) -> None:
        assert Harness().http.get("/jobs/?cursor=").status_code == 200
