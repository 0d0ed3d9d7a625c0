"""What the backend ``swarm`` is made of, beside what it shares with Docker and Podman (``_engine``). Private to it.

``service.py`` builds what a swarm is sent. ``survey.py`` looks; ``task.py``, ``replica.py`` and ``state.py`` say what
was seen: of one task, of one worker, of the whole job. ``endings.py`` is what pman writes down of an end itself,
``nodes.py`` when a node is given up.
"""
