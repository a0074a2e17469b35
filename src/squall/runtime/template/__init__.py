"""Templates: processes that have loaded a function's code once, and are forked into sandboxes prepared for them."""
