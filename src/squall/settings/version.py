"""The version of this Squall and of the wire it speaks."""

from squall import __version__

VERSION = __version__

# Raised whenever two parts of different versions can no longer understand each other's frames.
PROTOCOL = 1
