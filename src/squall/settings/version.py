"""The version of this Squall and of the wire it speaks."""

VERSION = "0.1.0"

# Raised whenever two parts of different versions can no longer understand each other's frames.
PROTOCOL = 1
