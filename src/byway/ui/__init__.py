"""The settings page: one module and one template per page."""
