"""Whole replies of the calls that succeed: used by ``record_kubernetes.py``."""

import json

from tests.recorded.kube_errors import NAMESPACE, Errors, namespace_of, until
from tests.recorded.kube_jobs import SLEEP, job_of
from tests.recorded.kube_recorder import Json, Server, without_noise


def record_answers(server: Server) -> Json:
    """Whole replies of the calls that succeed."""
    errors = Errors(server)
    jobs, pods, wanted = errors.jobs, errors.pods, {"labelSelector": "org.chrisproject.pman.instance=answers"}
    merge = {"headers": {"Content-Type": "application/merge-patch+json"}}
    wanted_right = {"namespace": NAMESPACE, "verb": "create", "group": "batch", "resource": "jobs"}
    review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview"}
    review |= {"spec": {"resourceAttributes": wanted_right}}
    with namespace_of(server, NAMESPACE):
        nobody = server.as_user(errors.token_of("nobody"))
        at = server.do("GET", jobs)["metadata"]["resourceVersion"]
        errors.keep("list of nothing", "ask", server.ask("GET", jobs, params=wanted))
        body = job_of("answers", ["sh", "-c", "seq 5; sleep 4"])
        errors.keep("create", "create", server.ask("POST", jobs, body))
        until(lambda: server.do("GET", f"{jobs}/recorded-answers")["status"].get("ready"))
        for name, path, query in (
            ("get", f"{jobs}/recorded-answers", {}),
            ("list", jobs, wanted),
            ("list of pods", pods, wanted),
            ("list, cached", jobs, wanted | {"resourceVersion": "0"}),
            ("list, metadata only", jobs, wanted),
        ):
            accept = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"
            headers = {"Accept": accept} if "metadata" in name else {}
            errors.keep(name, "ask", server.ask("GET", path, params=query, headers=headers))
        pod = server.do("GET", pods, params=wanted)["items"][0]["metadata"]["name"]
        errors.keep("merge patch", "change", server.ask("PATCH", f"{jobs}/recorded-answers",
            {"metadata": {"annotations": {"a": "b"}}}, **merge))  # fmt: skip
        until(lambda: server.do("GET", f"{jobs}/recorded-answers")["status"].get("succeeded"))
        for name, query in {"log": {}, "log, tail": {"tailLines": "2"}, "log, bytes": {"limitBytes": "3"},
                            "log, tail and bytes": {"tailLines": "2", "limitBytes": "3"}}.items():  # fmt: skip
            errors.keep(name, "ask", server.ask("GET", f"{pods}/{pod}/log", params=query))
        query = wanted | {"watch": "1", "resourceVersion": at, "allowWatchBookmarks": "true", "timeoutSeconds": "3"}
        watched = server.ask("GET", jobs, params=query)
        lines = [without_noise(json.loads(line)) for line in watched.text.splitlines()]
        errors.kept["watch"] = {"doing": "ask", "status": watched.status_code,
            "headers": {"Content-Type": watched.headers["Content-Type"]}, "body": lines}  # fmt: skip
        server.do("POST", jobs, job_of("second", SLEEP, suspend=True))
        errors.keep("first page", "ask", server.ask("GET", jobs, params={"limit": "1"}))
        errors.keep("delete", "change", server.ask("DELETE", f"{jobs}/recorded-answers",
            params={"propagationPolicy": "Background"}))  # fmt: skip
        errors.keep("delete, foreground", "change", server.ask("DELETE", f"{jobs}/recorded-second",
            params={"propagationPolicy": "Foreground"}))  # fmt: skip
        errors.keep("deletecollection", "change", server.ask("DELETE", pods, params=wanted))
        reviews = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
        errors.keep("allowed", "ask", server.ask("POST", reviews, review))
        errors.keep("not allowed", "ask", nobody.ask("POST", reviews, review))
        errors.keep("version", "ask", server.ask("GET", "/version"))
        errors.keep("readyz", "ask", server.ask("GET", "/readyz"))
    return errors.kept
