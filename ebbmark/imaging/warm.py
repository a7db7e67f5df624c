"""Importing this module loads what the first photo would have to load, for every child forked afterwards.

It is meant for `multiprocessing.set_forkserver_preload`: 50 ms once, not once in each child.
"""

from ebbmark.imaging.operation import catalogue
from ebbmark.imaging.render import warm

try:
    catalogue()
except TypeError:
    # An operation cannot be loaded. The first child that is asked says which; of a fork server that ended
    # here nobody would hear more than that it is gone.
    pass
else:
    warm()
