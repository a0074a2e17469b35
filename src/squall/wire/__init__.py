"""The wire: frames between Squall's own processes, over sockets or in memory; docs/mechanisms/wire.md specifies it."""
