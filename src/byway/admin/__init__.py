"""Services of the settings page, the CLI and the admin API."""
