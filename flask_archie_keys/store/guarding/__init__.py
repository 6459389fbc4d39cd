"""The parts of the session guard; :mod:`..guard` puts them together."""
