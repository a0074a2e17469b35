"""The variables in which sdk and runner meet: the input being run, its call, and the link out of the container."""
