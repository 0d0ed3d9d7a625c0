"""The parts of the backend ``slurm``: how Slurm is spoken to, what it says, and what that means.

https://slurm.schedmd.com/documentation.html
"""
