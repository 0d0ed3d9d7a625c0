"""What the backend ``cromwell`` is made of. Private to ``cromwell.py``.

``client.py`` speaks HTTP with the server, ``errors.py`` says what its refusals mean, ``replies.py`` reads what it tells,
``workflow.py`` builds what is submitted, ``failure.py`` says why a workflow has failed without a word of our launcher.
"""
