"""Ends the jobs that Kubernetes itself would wait for for ever, and lets go of pods that are lost.

Whoever observes a job asks here, and never waits for what is done about it:
see :mod:`backends._kubernetes.orders`. Everything that is judged by is in the cluster, but for how long trouble has
lasted: see :mod:`backends._kubernetes.patience`.
"""

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

from backends._kubernetes.ending import always, end_job, keep_end
from backends._kubernetes.ends import unnoticed_failure
from backends._kubernetes.errors import forms_of, strike
from backends._kubernetes.identity import Object, secrets_of
from backends._kubernetes.lost_nodes import is_tracked, lost_pods, verdict_on
from backends._kubernetes.namespace import Namespace
from backends._kubernetes.orders import Orders
from backends._kubernetes.patience import Patience
from backends._kubernetes.settings import KubernetesSettings
from backends._kubernetes.state import is_end_to_be_kept
from backends._kubernetes.trouble import may_be_stuck, trouble_in, trouble_of, who_is_silent
from backends._kubernetes.verdict import Verdict, verdict_of
from pman_core.backend import Observed, Sighting
from pman_core.errors import BackendError
from pman_core.states import TERMINAL

log = logging.getLogger(__name__)

FRESH_S = 1.0
"""So long what events have told is as good as new for an order that is given by it."""


class Watchdog:
    """One for all jobs of a backend; its methods may be called from any thread."""

    def __init__(self, own: KubernetesSettings) -> None:
        self._patience = Patience(own.kube_start_grace_s)
        self._node_lost_grace_s = own.node_lost_grace_s
        self._orders = Orders()

    def close(self) -> None:
        """Give no more orders; what is under way ends within its time-out."""
        self._orders.forget()

    def forget_all_but(self, generations: Iterable[str]) -> None:
        """Forget the jobs whose Jobs are gone."""
        self._patience.forget_all_but(generations)

    def look(self, cluster: Namespace, observed: Observed, job: Object, pods: Sequence[Object]) -> Sighting:
        """Tell how a job is. How it has ended is kept where Kubernetes does not keep it."""
        if observed.state not in TERMINAL:
            return self._look_at_unended(cluster, observed, job, pods)
        if is_end_to_be_kept(job, pods) and self._patience.may_try(observed.generation):
            self._orders.give(observed.generation, partial(_keep_end, cluster, observed))
        return observed

    def _look_at_unended(self, cluster: Namespace, observed: Observed, job: Object, pods: Sequence[Object]) -> Sighting:
        """Tell what keeps a job from starting; end it if that has lasted too long."""
        verdict = verdict_of(job["metadata"].get("annotations"))
        if lost := self.lost(cluster, pods):
            if self._patience.may_try(observed.generation):
                self._end(cluster, observed, verdict_on(lost), lambda _, pods: bool(self.lost(cluster, pods)))
            return observed
        if verdict is not None:
            if self._patience.has_waited(observed.generation):
                self._end(cluster, observed, verdict, always)
            return observed
        if failure := unnoticed_failure(pods):
            if self._patience.may_try(observed.generation):
                words = strike(failure.message, forms_of(secrets_of(job)))
                told = Verdict(failure.reason, words, datetime.now(UTC), failure.exit_code)
                self._end(cluster, observed, told, lambda _, pods: unnoticed_failure(pods) is not None)
            return observed
        trouble, is_too_long = self._patience.look(observed.generation, job, pods, lambda uid: _events_of(cluster, uid))
        if trouble is None:
            return observed
        words = strike(trouble.message, forms_of(secrets_of(job)))
        if is_too_long:
            is_due = partial(_is_stuck, cluster, time.monotonic())
            self._end(cluster, observed, Verdict(trouble.reason, words, datetime.now(UTC)), is_due)
        if observed.started_at is not None:
            return observed
        return replace(observed, native_state=trouble.native, message=words)

    def lost(self, cluster: Namespace, pods: Sequence[Object]) -> list[Object]:
        """Return those of a job's pods whose nodes are given up."""
        return lost_pods(pods, cluster.now(), self._node_lost_grace_s)

    def let_go(self, cluster: Namespace, generation: str, pods: Sequence[Object]) -> None:
        """Let what is left of a Job that is gone not wait for a node that is lost."""
        for pod in self.lost(cluster, pods):
            if not is_tracked(pod):  # else the Job controller does not know yet, and would put another in its place
                name = str(pod["metadata"]["name"])
                self._orders.give(name, partial(self._forsake, cluster, generation, name))

    def _forsake(self, cluster: Namespace, generation: str, name: str) -> None:
        """Take a pod out of the cluster, if it is still lost: its node may be back since it was seen."""
        try:
            for pod in self.lost(cluster, cluster.survey(generation).pods(generation)):
                if pod["metadata"]["name"] == name and not is_tracked(pod):
                    cluster.forsake(pod)
        except BackendError as error:
            log.warning("not taken away yet: pod=%s %s", name, error)

    def _end(
        self,
        cluster: Namespace,
        observed: Observed,
        verdict: Verdict,
        is_due: Callable[[Object, Sequence[Object]], bool],
    ) -> None:
        """Have a job ended that is observed. It is told when it is so: whoever looks next must tell the same."""
        jid, generation = observed.jid, observed.generation

        def order() -> None:
            find_lost = partial(self.lost, cluster)
            try:
                end_job(cluster, jid, generation, verdict, is_due=is_due, find_lost=find_lost)
            except BackendError as error:  # it is tried again
                log.warning("not ended yet: jid=%s %s: %s", jid, verdict.message, error)

        self._orders.give(generation, order)


def _keep_end(cluster: Namespace, observed: Observed) -> None:
    try:
        keep_end(cluster, observed.jid, observed.generation)
    except BackendError as error:
        log.warning("its end is not kept in its Job: jid=%s %s", observed.jid, error)


def _is_stuck(cluster: Namespace, given_at_s: float, job: Object, pods: Sequence[Object]) -> bool:
    """Whether a job still does not start. Its order may have waited behind others that hang, while a volume was mounted
    and an image is pulled: all the same, as far as the pod itself tells.
    """
    if trouble_of(pods) is not None or time.monotonic() - given_at_s < FRESH_S:
        return may_be_stuck(job, pods)
    uid = who_is_silent(job, pods)
    told = trouble_in(_events_of(cluster, uid) or ()) if uid else None
    return told is not None and told.is_lasting


def _events_of(cluster: Namespace, uid: str) -> Sequence[Object] | None:
    try:
        return cluster.events_of(uid)
    except BackendError as error:
        log.warning("it cannot be told why a job does not start: %s", error)
        return None
