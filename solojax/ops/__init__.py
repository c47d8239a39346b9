"""Arrays in, arrays out, jnp only."""
