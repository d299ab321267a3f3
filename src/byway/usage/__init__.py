"""Usage records on their way from an answered request to the database."""
