"""The settings of the REST transport. It is used if SLURM_REST_URL is set."""

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from backends._hpc.settings import Words


class RestSettings(BaseSettings):
    """How slurmrestd is reached. Of the three ways to a token there is one."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)

    slurm_rest_url: Annotated[str, Field(pattern=r"^(https?://[^\s?#]+)?$")] = ""
    """``http://host:6820``; empty: Slurm is reached by its commands."""
    slurm_rest_user: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]*$")] = ""
    """Whose token and jobs they are. Empty: pman's own user. On the nodes it must be the user of pman's files."""
    slurm_rest_token: SecretStr = SecretStr("")
    slurm_rest_token_file: Path | None = None
    """Read at every call, so that whoever renews the token need not tell pman."""
    slurm_rest_token_command: Words = ()
    """A command and its arguments, with blanks between them, that prints a token: ``scontrol token lifespan=3600``."""
    slurm_rest_ca: Path | None = None
    """The certificates of who has signed that of slurmrestd; unset: those that Python has."""

    @model_validator(mode="after")
    def _one_way_to_a_token(self) -> Self:
        ways = [
            bool(self.slurm_rest_token),
            self.slurm_rest_token_file is not None,
            bool(self.slurm_rest_token_command),
        ]
        if self.slurm_rest_url and sum(ways) != 1:
            raise ValueError(
                "with SLURM_REST_URL, one of SLURM_REST_TOKEN, SLURM_REST_TOKEN_FILE and SLURM_REST_TOKEN_COMMAND"
            )
        return self
