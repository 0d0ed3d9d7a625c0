"""An Apptainer that contains nothing: it runs the command on the host; variables say what it would have mounted."""

import os
import sys

WITH_VALUE = {"--pwd", "--home", "--mount", "--workdir"}
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def build(part: str, source: str) -> None:
    scheme, _, path = source.partition(":")
    if scheme != "docker-archive":
        sys.exit(f"FATAL:   Unable to build from {source}: no registry is reached from here")
    with open(path, "rb") as archive, open(part, "wb") as image:
        image.write(archive.read())


def run(words: list[str]) -> None:
    env = {"PATH": PATH, "HOME": os.environ["HOME"]}
    while words[0].startswith("-"):
        option = words.pop(0)
        value = words.pop(0) if option in WITH_VALUE else ""
        if option == "--mount":
            fields = dict(field.split("=", 1) for field in value.split(",") if "=" in field)
            env["FAKE_MOUNT_" + fields["destination"].replace("/", "_")] = fields["source"]
        elif option == "--home":
            env["HOME"] = value
    image, *argv = words
    if not os.path.exists(image):
        sys.exit(f"FATAL:   could not open image {image}")
    env |= {name.removeprefix("APPTAINERENV_"): value for name, value in os.environ.items() if "TAINERENV_" in name}
    os.chdir("/")
    try:
        os.execvpe(argv[0], argv, env)
    except OSError:
        sys.stderr.write(f'FATAL:   "{argv[0]}": executable file not found in $PATH\n')
        sys.exit(255)


words = [word for word in sys.argv[1:] if word != "--silent"]
if words[0] == "build":
    if "--disable-cache" not in words:
        sys.exit("FATAL:   While performing build: conveyor failed to get: unexpected end of JSON input")
    build(*words[2:])
else:
    run(words[1:])
