"""The settings: `load` turns the text of `byway.yaml` into a Config, a value that never changes, or every complaint.

Pure: no file, no clock, no network. `settings` has the types, `document` the YAML, `forms` the texts, `reading` the
rest.
"""

from byway.config.reading import ConfigError, load, load_keys, static_changes
from byway.config.settings import (
    ApiKeysSettings,
    BackendSettings,
    Config,
    ConfigProblem,
    HealthCheckSettings,
    KeySettings,
    LocalModelSettings,
    LoggingSettings,
    SearchProviderSettings,
    ServerSettings,
    TimeoutSettings,
    TlsSettings,
    WebFetchSettings,
    WebSearchSettings,
)
from byway.config.validators import listen

__all__ = [
    "ApiKeysSettings",
    "BackendSettings",
    "Config",
    "ConfigError",
    "ConfigProblem",
    "HealthCheckSettings",
    "KeySettings",
    "LocalModelSettings",
    "LoggingSettings",
    "SearchProviderSettings",
    "ServerSettings",
    "TimeoutSettings",
    "TlsSettings",
    "WebFetchSettings",
    "WebSearchSettings",
    "listen",
    "load",
    "load_keys",
    "static_changes",
]
