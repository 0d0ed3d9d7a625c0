"""What the backends of HPC clusters share, Slurm spoken to directly or through Cromwell. Private to them.

Native names are not unique there, and nobody tells an exit code for sure. So each job has a control folder on the
shared storage (``control.py`` makes and frees it, ``job_folder.py`` reads it), and what runs on the node is a launcher
of our own (``launcher.bash``), which lets a generation run once and writes down how it ended. ``files.py`` says what
the launcher is given, ``runtime.py`` how the container is run, ``outcome.py`` what the launcher's words mean.
"""
