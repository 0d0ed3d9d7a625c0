"""Which way a site has chosen to its Slurm."""

import os
import pwd

from backends._slurm.commands import CommandTransport
from backends._slurm.rest import RestTransport, Service
from backends._slurm.rest_token import Tokens
from backends._slurm.settings import SlurmSettings
from backends._slurm.transport import Transport


def transport_of(own: SlurmSettings) -> Transport:
    """Return the transport that the settings ask for; it is not open yet."""
    if not own.slurm_rest_url:
        return CommandTransport(own)
    tokens = Tokens(own.slurm_rest_token.get_secret_value(), own.slurm_rest_token_file, own.slurm_rest_token_command)
    user = own.slurm_rest_user or pwd.getpwuid(os.geteuid()).pw_name
    return RestTransport(Service(own.slurm_rest_url, user, tokens, own.slurm_timeout_s, own.slurm_rest_ca))
