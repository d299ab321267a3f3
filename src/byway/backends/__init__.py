"""Wire protocols of backends, one module each, and the vendors that speak them. No I/O."""
