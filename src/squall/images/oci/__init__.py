"""OCI images as data: layers in and out of the store, the documents around them, and the layout that holds both."""
