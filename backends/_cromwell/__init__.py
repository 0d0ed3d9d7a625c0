"""What the backend ``cromwell`` is made of. Private to ``cromwell.py``.

``client.py`` speaks HTTP with the server, ``errors.py`` says what its refusals mean, ``replies.py`` reads what it
tells. ``workflow.py`` builds what is submitted, ``submit.py`` hands it over, ``ending.py`` ends and removes it.
``facts.py`` reads a job's control folder, ``looks.py`` weighs it against Cromwell's word, ``failure.py`` says why a job
has ended of which our launcher says nothing, ``execution.py`` reads and removes what Cromwell has made for it.
"""
