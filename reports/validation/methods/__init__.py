"""One method a file, each a ``fit(target, *, rng, ...)`` that returns draws with what is known of them."""
