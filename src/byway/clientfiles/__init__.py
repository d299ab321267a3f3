"""Settings files of client programs: where they name an endpoint, how Byway changes them, and how it undoes a change."""
