#!/usr/bin/env python3
"""Write a container image archive from a folder, without any container engine or registry.

    make_image.py --busybox --tag NAME:TAG --out FILE.tar       the static busybox of this machine and its applets
    make_image.py --rootfs DIR --tag NAME:TAG --out FILE.tar    whatever DIR holds

The archive is what ``docker save`` writes; ``docker load``, ``podman load``, ``ctr images import`` and
``apptainer build X.sif docker-archive:FILE.tar`` read it. The same input gives the same bytes.
"""

import argparse
import hashlib
import io
import json
import platform
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
EPOCH = "1970-01-01T00:00:00Z"


def fill_with_busybox(root: Path) -> None:
    """Make a root of the static busybox (Debian's package ``busybox-static``), a link for each applet, two users."""
    found = shutil.which("busybox", path="/bin:/usr/bin")
    if found is None:
        raise SystemExit("make_image.py: no busybox here (Debian: busybox-static)")
    for folder in ("bin", "etc", "tmp", "root", "share/incoming", "share/outgoing"):
        (root / folder).mkdir(parents=True)
    shutil.copy(found, root / "bin/busybox")
    applets = subprocess.run([found, "--list"], capture_output=True, text=True, check=True).stdout.split()
    for applet in set(applets) - {"busybox"}:
        (root / "bin" / applet).symlink_to("busybox")
    (root / "tmp").chmod(0o1777)
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n")
    (root / "etc/group").write_text("root:x:0:\nnogroup:x:65534:\n")


def layer_of(root: Path) -> bytes:
    """Return the folder as a tar archive, in order and without times."""

    def timeless(info: tarfile.TarInfo) -> tarfile.TarInfo:
        info.mtime = 0
        return info

    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for path in sorted(root.rglob("*")):
            tar.add(path, arcname=str(path.relative_to(root)), recursive=False, filter=timeless)
    return buffer.getvalue()


def write_image(out: Path, layer: bytes, tags: list[str], command: list[str], env: list[str]) -> None:
    config = {
        "architecture": ARCHITECTURES.get(platform.machine(), platform.machine()),
        "os": "linux",
        "created": EPOCH,
        "config": {"Cmd": command, "Env": [f"PATH={PATH}", *env]},
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(layer).hexdigest()]},
        "history": [{"created": EPOCH, "created_by": "make_image.py"}],
    }
    config_bytes = json.dumps(config, sort_keys=True).encode()
    config_name = hashlib.sha256(config_bytes).hexdigest() + ".json"
    manifest = [{"Config": config_name, "RepoTags": tags, "Layers": ["layer.tar"]}]
    files = {"layer.tar": layer, config_name: config_bytes, "manifest.json": json.dumps(manifest).encode()}
    with tarfile.open(out, "w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--busybox", action="store_true")
    source.add_argument("--rootfs", type=Path, metavar="DIR")
    parser.add_argument("--tag", action="append", required=True, metavar="NAME:TAG")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.tar")
    parser.add_argument("--cmd", type=json.loads, default=["/bin/sh"], metavar="JSON")
    parser.add_argument("--env", action="append", default=[], metavar="NAME=VALUE")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        if options.busybox:
            fill_with_busybox(Path(scratch))
        layer = layer_of(options.rootfs or Path(scratch))
    write_image(options.out, layer, options.tag, options.cmd, options.env)


if __name__ == "__main__":
    main()
