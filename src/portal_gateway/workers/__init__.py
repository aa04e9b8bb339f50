"""Several processes of the gateway on the same addresses, and the small one that starts them."""
