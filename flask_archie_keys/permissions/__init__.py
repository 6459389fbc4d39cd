"""Who may do what: the services that decide."""
