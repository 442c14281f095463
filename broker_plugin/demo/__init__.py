"""The demonstration: alerts through the real worker on an embedded broker, and what came of them."""
