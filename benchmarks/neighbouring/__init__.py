"""The parts of `benchmarks/neighbours.py`: a hostile tenant, a burner in its place, and the tenant beside both."""
