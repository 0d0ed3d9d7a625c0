"""How a jid is found in a path: with any slashes around it, as the old pman took it."""

from werkzeug.routing import BaseConverter


class JidConverter(BaseConverter):
    """Match the whole rest of the path; whether it is a jid is for the view to say."""

    part_isolating = False
    regex = r"[\s\S]+"  # a dot would leave out line ends, and the path would be no route
    weight = 200
