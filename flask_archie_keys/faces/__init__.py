"""The ways in: what they share stands here, each face in a package of its own."""
