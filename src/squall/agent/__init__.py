"""On every node: looks at what runs, applies what is wanted, and passes frames between containers and the server."""
