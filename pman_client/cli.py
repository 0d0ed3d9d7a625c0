"""The command ``pman``: reads the arguments, calls what does the work, and turns errors into words and exit codes.

Exit codes: 0 done, 1 failed, 2 wrong usage. ``pman run`` exits as its job does, and with 125, as ``docker run`` does,
when pman itself is the reason.
"""

import os
import secrets
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from typer.core import TyperGroup

from pman_client import show
from pman_client.client import DEFAULT_PORT, DEFAULT_URL, PmanClient
from pman_client.errors import BadRequest, ClientError, PmanUnavailable
from pman_client.model import Job, JobSubmission
from pman_client.run import POLL_S, exit_code, follow
from pman_client.state_folder import DEFAULT, AlreadyUp, StateFolder

EXIT_PMAN_FAILED = 125
EXIT_INTERRUPTED = 130

# What jobs and servers say is shown as it is: no markup, no emoji in it.
out = Console(highlight=False, markup=False, emoji=False)
err = Console(stderr=True, highlight=False, markup=False, emoji=False)


class _Commands(TyperGroup):
    """Tells errors in words: a user sees no traceback of what is not a defect."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except ClientError as error:
            _complain(error)
        raise typer.Exit(EXIT_PMAN_FAILED if ctx.invoked_subcommand == "run" else 1)


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="HTTP in, container job on any scheduler, truth out.",
)

Url = Annotated[str, typer.Option("--url", envvar="PMAN_URL", help="Where pman answers.")]
Json = Annotated[bool, typer.Option("--json", help="For machines: JSON on stdout.")]
Jid = Annotated[str, typer.Argument(metavar="JID", help="The job.")]
State = Annotated[Path, typer.Option("--state", help="Where `pman up` keeps what is its own.", file_okay=False)]


@app.command()
def up(
    port: Annotated[int, typer.Option(help="Of the API; 0 takes a free one.", min=0, max=65535)] = DEFAULT_PORT,
    state: State = DEFAULT,
    any_image: Annotated[
        bool, typer.Option("--any-image", help="Accept and ignore images: jobs are commands of this host.")
    ] = False,
) -> None:
    """Run all of pman in this terminal, with a Redis of its own unless REDIS_URL is set."""
    from pman_client import up as command  # noqa: PLC0415 - the settings take time to import
    from pman_client.embedded import NoEmbeddedRedis  # noqa: PLC0415
    from pman_client.supervisor import Ending  # noqa: PLC0415
    from pman_core.errors import InvalidSettings  # noqa: PLC0415

    try:
        ending = command.up(StateFolder(state.resolve()), port, any_image, out)
    except InvalidSettings as error:
        _tell("these settings are wrong:", *map(str, error.faults))
        raise typer.Exit(2) from None
    except (AlreadyUp, NoEmbeddedRedis, command.NotStarted) as error:
        _tell(f"pman did not start: {error}")
        raise typer.Exit(1) from None
    if ending is not Ending.ASKED:
        raise typer.Exit(1)


@app.command()
def run(
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="The container image.")],
    argv: Annotated[list[str], typer.Argument(metavar="ARGV", help="The command, after --; no shell is in between.")],
    *,
    input_dir: Annotated[str, typer.Option("--input", help="Shown to the job as /share/incoming.")] = "",
    output_dir: Annotated[str, typer.Option("--output", help="Shown to the job as /share/outgoing.")] = "",
    kind: Annotated[
        Literal["ds", "fs", "ts"] | None, typer.Option("--type", help="Default: ds with --input, else fs.")
    ] = None,
    cpu_millicores: Annotated[int, typer.Option("--cpu", help="Millicores.")] = 1000,
    memory_mib: Annotated[int, typer.Option("--memory", help="MiB.")] = 512,
    gpus: Annotated[int, typer.Option("--gpu", help="Number of GPUs.")] = 0,
    time_limit_minutes: Annotated[int | None, typer.Option("--time", help="Minutes; else the site's default.")] = None,
    workers: Annotated[int, typer.Option("--workers", help="Number of workers.")] = 1,
    env: Annotated[list[str] | None, typer.Option("--env", metavar="NAME=VALUE", help="May be repeated.")] = None,
    jid: Annotated[str, typer.Option("--jid", help="The name of the job; default: a new one.")] = "",
    detach: Annotated[bool, typer.Option("--detach", help="Submit, print the jid, and leave.")] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Leave job and record in pman, on Ctrl-C too.")] = False,
    url: Url = DEFAULT_URL,
    json: Json = False,
) -> None:
    """Run a job, show it live, and exit as it does.

    Folders are relative to pman's store base. /share/incoming (type ds) and /share/outgoing are appended to ARGV.
    """
    jid = jid or f"run-{secrets.token_hex(6)}"
    submission = JobSubmission(
        jid=jid,
        image=image,
        entrypoint=argv[:1],
        args=argv[1:],
        input_dir=input_dir or f"{jid}/incoming",
        output_dir=output_dir or f"{jid}/outgoing",
        type=kind or ("ds" if input_dir else "fs"),
        env=env or [],
        number_of_workers=workers,
        cpu_millicores=cpu_millicores,
        memory_mib=memory_mib,
        gpus=gpus,
        time_limit_minutes=time_limit_minutes,
    )
    with _connect(url) as client:
        job = client.submit(submission)
        for warning in job.warnings:
            err.print(f"warning: {warning}", style="yellow", soft_wrap=True)
        if detach:
            _print_record(job) if json else out.print(job.jid)
            return
        job = _see_through(client, job, keep, json)
    raise typer.Exit(exit_code(job))


def _see_through(client: PmanClient, job: Job, keep: bool, json: bool) -> Job:
    """Follow the job to its end; without ``keep`` nothing of it stays in pman, not even after Ctrl-C."""
    try:
        changes = client.watch(job.jid, poll_s=POLL_S)
        job = list(changes)[-1] if json else follow(changes, out, err)
    except KeyboardInterrupt:
        if keep:
            err.print(f"the job goes on: pman logs -f {job.jid}")
        else:
            client.delete(job.jid)
            err.print("interrupted: the job is being ended")
        raise typer.Exit(EXIT_INTERRUPTED) from None
    if json:
        _print_record(job)
    if not keep:
        client.delete(job.jid)
    return job


@app.command()
def status(jid: Jid, url: Url = DEFAULT_URL, json: Json = False) -> None:
    """Show how a job is."""
    with _connect(url) as client:
        job = client.get(jid)
    _print_record(job) if json else out.print(show.job_panel(job))


@app.command()
def logs(
    jid: Jid,
    follow_it: Annotated[bool, typer.Option("-f", "--follow", help="Until the job has ended.")] = False,
    url: Url = DEFAULT_URL,
    json: Json = False,
) -> None:
    """Show the log of a job: the end of its stdout and stderr."""
    with _connect(url) as client:
        if follow_it and not json:
            follow(client.watch(jid, poll_s=POLL_S), out, err)
            return
        job = client.wait(jid, poll_s=POLL_S) if follow_it else client.get(jid)
    if json:
        show.print_json(out, {"jid": job.jid, "state": job.label, "logs": job.logs})
    else:
        show.print_log(out, job.logs)


@app.command(name="ls")
def list_jobs(
    limit: Annotated[int, typer.Option(help="How many, the newest first.", min=1, max=1000)] = 50,
    url: Url = DEFAULT_URL,
    json: Json = False,
) -> None:
    """List the jobs."""
    with _connect(url) as client:
        page = client.list(limit=limit)
    if json:
        show.print_json(out, [show.as_json(job) for job in page.jobs])
        return
    out.print(show.job_table(page.jobs))
    if page.next_cursor:
        err.print(f"older jobs are not shown: --limit {limit}", style="dim")


@app.command()
def rm(
    jids: Annotated[list[str], typer.Argument(metavar="JID...", help="The jobs.")],
    url: Url = DEFAULT_URL,
    json: Json = False,
) -> None:
    """End jobs, if they still run, and forget them."""
    with _connect(url) as client:
        for jid in jids:
            client.delete(jid)
            if not json:
                out.print(jid)
    if json:
        show.print_json(out, {"deleted": jids})


@app.command()
def doctor(state: State = DEFAULT, json: Json = False) -> None:
    """Look at everything that pman needs, and say how to repair what is wrong."""
    from pman_client.doctor import Verdict, examine  # noqa: PLC0415 - it imports Celery

    note = StateFolder(state.resolve()).read_note()
    for name, value in note.env.items() if note else ():
        os.environ[name] = os.environ.get(name) or value
    findings = []
    for finding in examine():
        findings.append(finding)
        if not json:
            show.print_finding(out, finding.subject, finding.verdict, finding.text, finding.repair)
    if json:
        rows = [{"subject": f.subject, "verdict": f.verdict, "text": f.text, "repair": f.repair} for f in findings]
        show.print_json(out, rows)
    if any(finding.verdict is Verdict.FAIL for finding in findings):
        raise typer.Exit(1)


@app.command()
def version(url: Url = DEFAULT_URL, json: Json = False) -> None:
    """Show the version of this command, and of the pman that answers."""
    from pman_core import __version__  # noqa: PLC0415 - it reads the package's metadata

    try:
        with _connect(url, retries=0) as client:
            server: dict[str, Any] | None = client.info()
    except PmanUnavailable:
        server = None
    if json:
        show.print_json(out, {"client": __version__, "server": server})
        return
    out.print(f"client {__version__}")
    known = server and f"server {server.get('server_version')} at {url}, backend {server.get('container_env')}"
    out.print(known or f"no server at {url}")


def _connect(url: str, retries: int = 2) -> PmanClient:
    return PmanClient(url, retries=retries)


def _print_record(job: Job) -> None:
    show.print_json(out, show.as_json(job))


def _complain(error: ClientError) -> None:
    if isinstance(error, BadRequest) and error.errors:
        _tell("pman refuses this:", *map(str, error.errors))
        return
    _tell(str(error))
    if isinstance(error, PmanUnavailable):
        err.print("Is pman up? Start it with `pman up`, or name another with --url or PMAN_URL.")


def _tell(fault: str, *details: str) -> None:
    err.print(fault, style="red", soft_wrap=True)
    for detail in details:
        err.print(f"  {detail}", soft_wrap=True)


def main() -> None:
    app()
