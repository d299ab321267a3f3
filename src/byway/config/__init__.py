"""The settings: `load` turns the text of `byway.yaml` into a Config, a value that never changes, or every complaint.

Pure: no file, no clock, no network. `settings` has the types, `document` the YAML, `forms` the texts, `reading` the
rest.
"""

from byway.config.reading import ConfigError, load, load_keys, static_changes
from byway.config.settings import (
    ApiKeys,
    Backend,
    Complaint,
    Config,
    HealthChecks,
    Key,
    LocalModels,
    Logging,
    Searched,
    Server,
    Timeouts,
    Tls,
    WebFetch,
    WebSearch,
)
from byway.config.validators import listen

__all__ = [
    "ApiKeys",
    "Backend",
    "Complaint",
    "Config",
    "ConfigError",
    "HealthChecks",
    "Key",
    "LocalModels",
    "Logging",
    "Searched",
    "Server",
    "Timeouts",
    "Tls",
    "WebFetch",
    "WebSearch",
    "listen",
    "load",
    "load_keys",
    "static_changes",
]
