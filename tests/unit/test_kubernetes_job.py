"""What Kubernetes is sent: whole Jobs against ``tests/golden/kubernetes``, rewritten by REWRITE_GOLDEN=yes."""

import errno
from pathlib import Path
from typing import Any

import pytest

from backends._kubernetes.identity import (
    LABEL_VALUE,
    Identity,
    identity_of,
    job_name,
    label_faults,
    safe_label,
    selector,
    spec_of,
)
from backends._kubernetes.job import build_job, user_of, verbatim
from backends._kubernetes.settings import KubernetesSettings
from backends._kubernetes.storage import ClaimFolders, HostFolders, NfsFolders, Volumes, is_seen, storage_of
from pman_core.errors import Rejected, Unavailable
from pman_core.job import mint_generation
from pman_core.request import JobRequest
from tests.unit.kube_objects import BODY, common, job, spec
from tests.unit.payloads import GENERATION, check_golden

GOLDEN = Path(__file__).parents[1] / "golden" / "kubernetes"
FOLDERS: dict[str, Any] = {
    "host": HostFolders(Path("/store"), is_seen=False),
    "nfs": NfsFolders("nfs.example.org", Path("/export"), is_seen=False),
    "pvc": ClaimFolders("storebase", None),
}


def body(
    wish: dict[str, Any] | None = None,
    settings: dict[str, Any] | None = None,
    own: dict[str, Any] | None = None,
    storage: str = "host",
) -> dict[str, Any]:
    job_spec = spec(**wish or {})
    volumes: Volumes = FOLDERS[storage].volumes(job_spec, None)
    return build_job(job_spec, common(**settings or {}), KubernetesSettings(**own or {}), volumes)


CASES: dict[str, dict[str, Any]] = {
    "default": body(),
    "everything": body(
        {"gpu_limit": 2, "number_of_workers": 3},
        {
            "securitycontext_run_as_user": 1001,
            "securitycontext_run_as_group": 1002,
            "container_user": "1:2",
            "enable_home_workaround": True,
            "shm_size": 64,
            "job_labels": "site=here,chrisproject.org/role=other",
            "node_selector": "disk=fast,zone=a",
            "image_pull_secrets": "one,two",
            "timelimit_minutes": 2,
        },
        {"kube_ttl_hours": 200, "kube_request_ratio": 0.5, "kube_gpu_resource": "amd.com/gpu", "kube_end_grace_s": 5},
    ),
    "nfs": body(storage="nfs"),
    "claim": body(storage="pvc"),
    "no-limits": body({"gpu_limit": 1}, {"ignore_limits": True}, {"image_pull_policy": "always"}),
}


@pytest.mark.parametrize("name", CASES)
def test_the_whole_body(name: str) -> None:
    check_golden(GOLDEN / f"{name}.json", CASES[name])


def test_a_job_and_its_pods_tell_whose_they_are() -> None:
    made = body()
    whose = Identity("chris-jid-4", GENERATION, "site", spec().request.digest)
    assert identity_of(made) == identity_of(made["spec"]["template"]) == whose
    assert spec_of(made) == spec()
    assert spec_of(made["spec"]["template"]) is None


def test_what_is_not_ours_has_no_identity_and_no_spec() -> None:
    assert identity_of({"metadata": {}}) is None
    assert identity_of({"metadata": {"labels": {"app": "x"}, "annotations": None}}) is None
    assert spec_of({"metadata": {"annotations": {"pman.chrisproject.org/spec": "{"}}}) is None


@pytest.mark.parametrize(
    ("settings", "user"),
    [
        ({}, (None, None)),
        ({"container_user": "12:34"}, (12, 34)),
        ({"container_user": "12:34", "securitycontext_run_as_user": 56}, (56, 34)),
        ({"securitycontext_run_as_group": 78}, (None, 78)),
        ({"securitycontext_run_as_user": 0, "securitycontext_run_as_group": 0, "container_user": "1:1"}, (0, 0)),
    ],
)
def test_who_a_job_runs_as(settings: dict[str, Any], user: tuple[int | None, int | None]) -> None:
    assert user_of(spec(), common(**settings)) == user


def test_only_root_may_be_root() -> None:
    def context(uid: int) -> dict[str, Any]:
        made = body(settings={"securitycontext_run_as_user": uid})
        found: dict[str, Any] = made["spec"]["template"]["spec"]["securityContext"]
        return found

    assert context(1)["runAsNonRoot"] is True
    assert "runAsNonRoot" not in context(0)


@pytest.mark.parametrize("text", ["$", "$$", "$(A)", "$$(A)", "a$b", "$(", "price: 5$"])
def test_the_kubelet_gives_back_what_was_meant(text: str) -> None:
    assert expanded(verbatim(text)) == text


def expanded(text: str) -> str:
    """What k8s.io/kubernetes/third_party/forked/golang/expansion makes of a text, all variables being X."""
    out, at = "", 0
    while at < len(text):
        if text[at] != "$" or at + 1 == len(text):
            out, at = out + text[at], at + 1
        elif text[at + 1] == "$":
            out, at = out + "$", at + 2
        elif text[at + 1] == "(" and ")" in text[at:]:
            out, at = out + "X", text.index(")", at) + 1
        else:
            out, at = out + text[at : at + 2], at + 2
    return out


def test_a_time_limit_of_less_than_a_second_is_one() -> None:
    settings = common(timelimit_minutes=1).model_copy(update={"timelimit_minutes": 0.005})
    made = build_job(spec(), settings, KubernetesSettings(), Volumes())
    assert made["spec"]["template"]["spec"]["activeDeadlineSeconds"] == 1


@pytest.mark.parametrize("jid", ["a", "~" + "x" * 252, "A.b_~", "-", "~~~", "Ends.in.", "x" * 253])
def test_names_and_labels_are_what_kubernetes_takes(jid: str) -> None:
    generation = mint_generation()
    name = job_name(jid, generation)
    assert len(f"{name}-99999") <= 63
    assert name.endswith(f"-{generation}")
    assert name.replace("-", "").isalnum()
    assert name == name.lower()
    assert LABEL_VALUE.fullmatch(safe_label(jid))
    assert safe_label(jid)


def test_jids_that_only_differ_in_what_labels_forbid_have_labels_of_their_own() -> None:
    assert len({safe_label(jid) for jid in ("a~b", "a-b", "~a-b", "a~~b", "a_b", "a.b", "a-b-")}) == 7
    assert safe_label("plain-jid_1.2") == "plain-jid_1.2"


def test_what_is_selected() -> None:
    prefix = "pman.chrisproject.org/"
    assert selector("site") == f"{prefix}instance=site"
    assert selector("site", "gen", "a~b") == f"{prefix}instance=site,{prefix}generation=gen,{prefix}jid=" + safe_label(
        "a~b"
    )


def test_a_job_that_is_too_large_is_refused_with_its_size() -> None:
    with pytest.raises(Rejected, match=r"too large for Kubernetes: .* 2\d\d KiB in annotations, at most 252 KiB"):
        body({"args": ["x" * 100_000] * 2 + ["y" * 62_000]})
    body({"args": ["x" * 100_000] * 2 + ["y" * 50_000]})


def test_an_argument_that_no_exec_takes_is_refused() -> None:
    with pytest.raises(Rejected, match="argument 2 has"):
        body({"args": ["x" * 140_000]})


def test_labels_of_the_site_are_looked_at_before_the_first_job() -> None:
    assert label_faults("JOB_LABELS", [("a.example/b", "c"), ("ok", "")]) == []
    faults = label_faults("JOB_LABELS", [("a b", "c"), ("a", "c d"), ("a/b/c", ""), ("job-name", "x")])
    assert [str(fault) for fault in faults] == [
        "JOB_LABELS: a b=c is no label of Kubernetes, or the Job controller's own",
        "JOB_LABELS: a=c d is no label of Kubernetes, or the Job controller's own",
        "JOB_LABELS: a/b/c= is no label of Kubernetes, or the Job controller's own",
        "JOB_LABELS: job-name=x is no label of Kubernetes, or the Job controller's own",
    ]


# Storage


def test_folders_that_pman_sees_are_made_and_checked(tmp_path: Path) -> None:
    base = tmp_path / "link"
    (tmp_path / "real").mkdir()
    base.symlink_to(tmp_path / "real")
    (base / "job").mkdir()
    volumes = storage_of(common(storebase=base)).volumes(spec(type="fs"), None).volumes
    assert [volume["hostPath"]["path"] for volume in volumes] == [
        str(tmp_path / "real/job/in"),
        str(tmp_path / "real/job/out"),
    ]
    assert (base / "job/out").is_dir()
    (base / "evil").symlink_to("/etc")
    with pytest.raises(Rejected, match="output_dir: 'evil' is a symbolic link"):
        storage_of(common(storebase=base)).volumes(spec(type="fs", output_dir="evil"), None)


def test_a_claim_is_never_mounted_whole() -> None:
    request = JobRequest(**BODY).model_copy(update={"output_dir": "/"})
    with pytest.raises(Rejected, match="output_dir: must name a folder of the volume"):
        ClaimFolders("claim", None).volumes(spec().__class__(GENERATION, "site", request), None)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"storage_type": "docker_local_volume"}, "STORAGE_TYPE: must be host, nfs or kubernetes_pvc"),
        ({"storage_type": "kubernetes_pvc"}, "VOLUME_NAME: is required"),
    ],
)
def test_storage_that_kubernetes_has_not(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(Rejected, match=message):
        storage_of(common(**settings))


def test_the_storages() -> None:
    assert storage_of(common(storage_type="nfs", nfs_server="s")) == NfsFolders("s", Path("/no/store"), is_seen=False)
    assert storage_of(common(storage_type="kubernetes_pvc", volume_name="c", storebase=None)) == ClaimFolders("c", None)


def test_a_job_of_the_tests_is_one_of_ours() -> None:
    assert spec_of(job()) == spec()


def test_a_folder_of_the_image_is_not_the_store() -> None:
    root, mounted = Path("/"), Path("/proc")
    assert is_seen(root, is_in_cluster=False)
    assert not is_seen(root, is_in_cluster=True)
    assert is_seen(mounted, is_in_cluster=True)
    assert not is_seen(Path("/no/such/folder"), is_in_cluster=False)


def test_a_claim_that_pman_does_not_see_is_left_to_the_kubelet(tmp_path: Path) -> None:
    """STOREBASE may be set, and even be a folder of pman's own image, and yet nothing be mounted there."""
    values = {"storage_type": "kubernetes_pvc", "volume_name": "c"}
    absent = storage_of(common(**values, storebase="/no/store"))
    assert absent == ClaimFolders("c", None)
    assert absent.volumes(spec(), None).volumes[0]["name"] == "store"
    assert storage_of(common(**values, storebase="/"), is_in_cluster=True) == ClaimFolders("c", None)
    assert storage_of(common(**values, storebase=tmp_path)) == ClaimFolders("c", tmp_path)


def test_a_store_that_may_not_be_looked_at_is_not_seen_and_one_that_fails_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(error: OSError) -> None:
        def look(_path: Path) -> bool:
            raise error

        monkeypatch.setattr(Path, "is_dir", look)

    fail(PermissionError(errno.EACCES, "Permission denied"))
    assert not is_seen(Path("/share"), is_in_cluster=True)
    fail(OSError(errno.ESTALE, "Stale file handle"))
    with pytest.raises(Unavailable, match="STOREBASE: /share: Stale file handle"):
        is_seen(Path("/share"), is_in_cluster=True)
