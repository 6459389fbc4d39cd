"""The services that decide who may do what."""
