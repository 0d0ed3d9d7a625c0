"""The command line and the environment of a job's container, for each value of HPC_RUNTIME. Pure.

https://apptainer.org/docs/user/1.4/cli/apptainer_exec.html
https://docs.sylabs.io/guides/latest/user-guide/cli/singularity_exec.html
https://docs.podman.io/en/latest/markdown/podman-run.1.html and podman-pull.1.html
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from backends._hpc.settings import HpcSettings
from backends._share_paths import rewrite_paths
from backends._users import HOME_WORKAROUND
from pman_core.command import INCOMING, OUTGOING
from pman_core.errors import Rejected
from pman_core.job import JobSpec
from pman_core.settings import Settings as CommonSettings

IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
OWN_NAMES = frozenset(
    {
        "_",
        "BASH_ENV",
        "EGID",
        "ENV",
        "EUID",
        "GID",
        "HOME",
        "IFS",
        "LD_LIBRARY_PATH",
        "OLDPWD",
        "OPTIND",
        "PATH",
        "PROMPT_COMMAND",
        "PS1",
        "PWD",
        "SHLVL",
        "UID",
    }
)
"""Variables that Apptainer, or the shell within it, sets or does not let be set."""
OWN_PREFIXES = ("APPTAINER", "SINGULARITY", "SING_USER")
HOST_NAMES = frozenset({"PATH", "HOME", "USER", "LANG", "TMPDIR", "XDG_RUNTIME_DIR"})
"""What the launcher gives to the runtime itself."""
GPUS = "CUDA_VISIBLE_DEVICES"
"""The variable by which a scheduler says which GPUs of the node are the job's."""
PULL_FLAGS = frozenset(
    {
        "--arch",
        "--authfile",
        "--cert-dir",
        "--decryption-key",
        "--os",
        "--platform",
        "--retry",
        "--retry-delay",
        "--signature-policy",
        "--tls-verify",
        "--variant",
    }
)
"""Options of ``podman run`` that say where its image comes from: ``podman pull`` has them, too."""


@dataclass(frozen=True, slots=True)
class Container:
    """How a job's container is run."""

    runtime: Sequence[str]
    """The command line up to the image; the image comes behind it, then :attr:`argv`."""
    env: Sequence[str]
    """``NAME=VALUE``: what the runtime finds in its environment, beside :data:`HOST_NAMES`."""
    argv: Sequence[str]
    env_prefix: str = ""
    """How a variable is called that the runtime hands on."""
    pull_flags: str = ""
    """Options of the pull, with blanks between them, where the image is pulled apart."""
    scratch_flag: str = ""
    """The option that a folder of the node is given by, for /tmp and the like."""
    start_failures: str = ""
    """The exit codes, with blanks between them, of a runtime that could not start the command."""
    start_mark: str = ""
    """What the last line of the log begins with then."""


def build_container(
    own: HpcSettings, common: CommonSettings, spec: JobSpec, incoming: Path, outgoing: Path
) -> Container:
    """Return how the job is run. The two folders are paths as the nodes see them.

    Raises:
        Rejected: with this environment the command cannot be run.
    """
    if own.hpc_runtime == "podman":
        return _podman(own, common, spec, incoming, outgoing)
    if own.hpc_runtime == "none":
        return _bare(common, spec, incoming, outgoing)
    return _apptainer(own, common, spec, incoming, outgoing)


def _apptainer(own: HpcSettings, common: CommonSettings, spec: JobSpec, incoming: Path, outgoing: Path) -> Container:
    """Apptainer or Singularity.

    ``--no-eval`` is what keeps it from running ``$(...)`` in values. Its own shell still changes some variables on
    their way; those are set by the ``env`` of the image, which comes before the command then.
    """
    prefix = f"{own.hpc_runtime.upper()}ENV_"
    runtime = [own.hpc_runtime, "--silent", "exec", "--containall", "--cleanenv", "--no-eval", "--pwd", "/"]
    if common.enable_home_workaround:
        runtime += ["--no-home", "--home", HOME_WORKAROUND]
    runtime += _mounts(incoming, outgoing)
    if spec.request.gpus:
        runtime.append("--nv")
    plain = {name: value for name, value in spec.env.items() if _is_plain(name, value)}
    awkward = [f"{name}={value}" for name, value in spec.env.items() if name not in plain]
    argv = list(spec.argv)
    if awkward:
        if "=" in argv[0]:
            names = ", ".join(sorted(spec.env.keys() - plain.keys()))
            raise Rejected(f"env: {names} cannot be set for a program with an equals sign in its name, {argv[0]!r}")
        argv = ["env", "--", *awkward, *argv]
    return Container(
        runtime=[*runtime, *own.hpc_runtime_options],
        env=[f"{prefix}{name}={value}" for name, value in plain.items()],
        argv=argv,
        env_prefix=prefix,
        scratch_flag="--workdir",
        start_failures="255",
        start_mark="FATAL:   ",
    )


def _is_plain(name: str, value: str) -> bool:
    """Whether Apptainer hands a variable on as it is. Found by trying; a test with the hostile corpus holds it."""
    if not IDENTIFIER.fullmatch(name) or name in OWN_NAMES or name.startswith(OWN_PREFIXES):
        return False
    return "\r\n" not in value


def _podman(own: HpcSettings, common: CommonSettings, spec: JobSpec, incoming: Path, outgoing: Path) -> Container:
    """Podman with an image of the node's own storage, which the launcher has pulled on the first node."""
    is_fresh = own.image_pull_policy == "always" and spec.request.number_of_workers == 1
    pull = "missing" if is_fresh else own.image_pull_policy
    runtime = ["podman", "run", "--rm", "--name", container_name(spec), "--pull", pull]
    runtime += ["--network", "host", "--entrypoint=", *_mounts(incoming, outgoing)]
    if common.enable_home_workaround:
        runtime.append(f"--env=HOME={HOME_WORKAROUND}")
    if common.shm_size is not None:
        runtime.append(f"--shm-size={common.shm_size}m")
    if spec.request.gpus:
        runtime += ["--device=nvidia.com/gpu=all", f"--env={GPUS}"]
    env, by_option = _hidden(spec.env)
    return Container(
        runtime=[*runtime, *by_option, *own.hpc_runtime_options],
        env=env,
        argv=spec.argv,
        pull_flags=" ".join(_pull_flags(own.hpc_runtime_options)),
        start_failures="125 126 127",
        start_mark="Error: ",
    )


def _pull_flags(options: Sequence[str]) -> Iterator[str]:
    """Yield those of the site's options that a pull needs as well, each with its value."""
    words = iter(options)
    for word in words:
        name, has_value, _ = word.partition("=")
        if name in PULL_FLAGS:
            yield word
            if not has_value and name != "--tls-verify":  # which has one only behind an equals sign
                yield from islice(words, 1)


def _hidden(env: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """Return the environment for podman and its options, so that values are seen by nobody where that can be."""
    hidden = {name: value for name, value in env.items() if IDENTIFIER.fullmatch(name) and name not in HOST_NAMES}
    by_option = [f"--env={name}" if name in hidden else f"--env={name}={value}" for name, value in env.items()]
    return [f"{name}={value}" for name, value in hidden.items()], by_option


def _bare(common: CommonSettings, spec: JobSpec, incoming: Path, outgoing: Path) -> Container:
    """The bare command on the node. ``nice`` does nothing but take any name for that of a program."""
    env = {"HOME": HOME_WORKAROUND} if common.enable_home_workaround else {}
    env |= {name: rewrite_paths(value, incoming, outgoing) for name, value in spec.env.items()}
    return Container(
        runtime=["nice", "-n", "0", "--"],
        env=[f"{name}={value}" for name, value in env.items()],
        argv=[rewrite_paths(argument, incoming, outgoing) for argument in spec.argv],
        start_failures="126 127",
        start_mark="nice: ",
    )


def container_name(spec: JobSpec) -> str:
    """Return the name of a job's container, where the runtime has names."""
    return f"pman-{spec.generation}"


def _mounts(incoming: Path, outgoing: Path) -> list[str]:
    return [
        "--mount",
        f"type=bind,{_field(f'source={incoming}')},destination={INCOMING},ro",
        "--mount",
        f"type=bind,{_field(f'source={outgoing}')},destination={OUTGOING}",
    ]


def _field(text: str) -> str:
    """Quote one field as RFC 4180 says: the option is read as a line of CSV."""
    return '"' + text.replace('"', '""') + '"' if re.search(r'[",\r\n]', text) or text != text.strip() else text
