"""The control folder of a job on shared storage: how names are taken, what is written there, and how they are freed.

::

    <STOREBASE>/.pman/<instance>/<backend>/     mode 0700: specs hold environments
        .mounted                                without this marker the store is not mounted, and nobody is "absent"
        launcher.<hash>.bash                    what runs on the node
        <generation>.<nonce>/                   prepared: becomes <generation> by one rename, or is swept
        <generation>/                           taken for ever after: this generation is never submitted anew
            spec.json                           from which a lost record is rebuilt
            launch, runtime, env, argv          what the launcher is given, see ``files.py``
            native/<id>                         an id that the scheduler has given to an order of ours
            claim/, end/                        the launcher's: whose run it is, how it ended
            failed/                             the launcher's: of several tasks, the first one that has failed
            alive                               the launcher's: touched as long as it is there
            fetching, pull                      its image is being fetched, or is waited for; what was said of that
            log                                 stdout and stderr, from when the image is there
            slurm                               what the launcher and Slurm itself say beside it
            verdict/                            the end as it was told once; nothing else counts from then on
            removed                             the tombstone: of a removed job nothing else is left

A removed generation keeps its name until the fence is over: a submitter that slept finds it taken, a launcher that
slept finds that it must not begin.
"""

import os
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from backends._hpc.job_folder import FACTS, NATIVE, REMOVED, SPEC, VERDICT, JobFolder
from backends._hpc.launcher import LAUNCHER_NAME, LAUNCHER_TEXT
from backends._hpc.outcome import Verdict
from backends._private_folder import MARKER, asking, make_private, write_durably
from pman_core.errors import Rejected
from pman_core.job import GENERATION_PATTERN, JobSpec
from pman_core.request import CONTROL_FOLDER


class Control:
    """The control folders of one instance and backend. Every ``OSError`` that is no answer becomes ``Unavailable``."""

    def __init__(self, store_base: Path, node_store_base: Path, instance: str, backend: str) -> None:
        """``node_store_base`` is the store base as the nodes see it."""
        self._store_base = store_base
        self.base = store_base / CONTROL_FOLDER / instance / backend
        self._node_base = node_store_base / CONTROL_FOLDER / instance / backend

    def create(self) -> None:
        """Make the folder and put the launcher there.

        Raises:
            Rejected: it belongs to somebody else, who could then make us start what he likes.
            Unavailable: the store base is not there, or cannot be written.
        """
        make_private(self._store_base, self.base)
        with asking("written"):
            if not (self.base / LAUNCHER_NAME).exists():
                fresh = self.base / f"{LAUNCHER_NAME}.{secrets.token_hex(8)}"
                write_durably(fresh, LAUNCHER_TEXT.encode())
                fresh.rename(self.base / LAUNCHER_NAME)

    def node_launcher(self) -> str:
        """Return the path of the launcher as the nodes see it."""
        return str(self._node_base / LAUNCHER_NAME)

    def node_folder(self, generation: str) -> str:
        """Return the path of a job's control folder as the nodes see it."""
        return str(self._node_base / generation)

    def check(self) -> None:
        """Raise ``Unavailable`` if the store is not mounted."""
        with asking("read"):
            (self.base / MARKER).stat()

    def probe(self) -> None:
        """Write and remove a file. Raises ``Unavailable``: the store is not mounted or cannot be written."""
        self.check()
        with asking("written"):
            probe = self.base / f"probe.{secrets.token_hex(8)}"
            probe.touch(mode=0o600)
            probe.unlink()

    def take(self, spec: JobSpec, files: Mapping[str, bytes]) -> bool:
        """Make the control folder of a generation, all of it or nothing. Returns whether we were the one who did.

        Raises:
            Unavailable: the store is not mounted or cannot be written.
        """
        _check_generation(spec.generation)
        self.check()
        with asking("written"):
            prepared = self.base / f"{spec.generation}.{secrets.token_hex(8)}"
            prepared.mkdir(mode=0o700)
            (prepared / NATIVE).mkdir(mode=0o700)
            for name, data in {SPEC: spec.to_json().encode(), **files}.items():
                write_durably(prepared / name, data)
            return _give(prepared, self.base / spec.generation)

    def note(self, generation: str, native_id: str) -> None:
        """Write down that the scheduler has given ``native_id`` to an order of this generation."""
        with asking("written"):
            (self.base / generation / NATIVE / native_id).touch(mode=0o600)

    def put_verdict(self, generation: str, verdict: Verdict) -> Verdict:
        """Write down the end of a job, unless somebody has; return what is written there now."""
        with asking("written"):
            folder = self.base / generation
            prepared = folder / f"{VERDICT}.{secrets.token_hex(8)}"
            prepared.mkdir(mode=0o700)
            write_durably(prepared / FACTS, verdict.to_json().encode())
            if _give(prepared, folder / VERDICT):
                return verdict
        return self.folder(generation).verdict() or verdict

    def mark_removed(self, generation: str) -> None:
        """Say that the job is removed: nothing of it begins any more. Its files are still there."""
        with asking("written"):
            write_durably(self.base / generation / REMOVED, b"")

    def entomb(self, generation: str) -> None:
        """Remove all that is left of a job that was marked as removed, but keep its name taken."""
        with asking("written"):
            _empty(self.base / generation, keep={REMOVED})

    def take_name(self, generation: str) -> bool:
        """Take the name of a generation that is not here, so that it never will be. Returns whether it was free."""
        _check_generation(generation)
        self.check()
        with asking("written"):
            prepared = self.base / f"{generation}.{secrets.token_hex(8)}"
            prepared.mkdir(mode=0o700)
            write_durably(prepared / REMOVED, b"")
            return _give(prepared, self.base / generation)

    def folder(self, generation: str) -> JobFolder:
        """Return the control folder of a generation, whether or not there is one."""
        return JobFolder(self.base / generation, generation)

    def folders(self, sweep_before: float) -> Iterator[JobFolder]:
        """Yield the control folder of every job that is not removed, oldest first.

        What was removed or prepared before ``sweep_before`` (seconds since the epoch) is swept away meanwhile.
        """
        self.check()
        with asking("read"):
            names = sorted(entry.name for entry in os.scandir(self.base) if entry.is_dir(follow_symlinks=False))
        for name in names:
            path = self.base / name
            if not GENERATION_PATTERN.fullmatch(name):
                if _modified_at(path) < sweep_before:
                    _sweep(path)
                continue
            folder = self.folder(name)
            if not folder.is_removed():
                yield folder
            elif _modified_at(path / REMOVED) < sweep_before:
                _sweep(path)


def _check_generation(generation: str) -> None:
    if not GENERATION_PATTERN.fullmatch(generation):
        raise Rejected(f"a generation must be a ULID in lower case, not {generation!r}")


def _give(prepared: Path, name: Path) -> bool:
    """Rename a prepared folder; onto one that is not empty this fails. Returns whether it was done."""
    try:
        prepared.rename(name)
    except OSError:
        shutil.rmtree(prepared, ignore_errors=True)
        if not name.is_dir():
            raise
        return False
    return True


def _modified_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return time.time()


def _empty(folder: Path, keep: set[str]) -> None:
    for path in folder.iterdir():
        if path.name in keep:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _sweep(folder: Path) -> None:
    """Discard a folder; by a rename first, which frees its name at once and takes all that is in it along.

    So a late submitter takes all of what was prepared or nothing, and nothing that is left of a job is found under its
    name without a tombstone, whoever writes into it meanwhile or dies on the way.
    """
    swept = folder.with_name(f"{folder.name.partition('.')[0]}.swept-{secrets.token_hex(8)}")
    with suppress(OSError):
        folder.rename(swept)
        shutil.rmtree(swept, ignore_errors=True)
