"""Importing this module loads what the first photo would have to load, for every child forked afterwards.

It is meant for `multiprocessing.set_forkserver_preload`: 50 ms once, not once in each child.
"""

from ebbmark.imaging.render import warm

warm()
