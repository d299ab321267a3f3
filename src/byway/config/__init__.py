"""The settings: `load` turns the text of `byway.yaml` into a Config, a value that never changes, or every complaint.

Pure: no file, no clock, no network. `settings` has the types, `document` the YAML, `forms` the texts, `reading` the
rest.
"""

from byway.config.batchsettings import BatchSettings
from byway.config.filesettings import FileSettings, S3Settings
from byway.config.metricsettings import MetricsSettings
from byway.config.reading import ConfigError, load, load_keys, static_changes
from byway.config.responsesettings import ResponseSettings
from byway.config.server import ServerSettings, ServerTlsSettings
from byway.config.settings import (
    ApiKeysSettings,
    BackendSettings,
    Config,
    ConfigProblem,
    HealthCheckSettings,
    KeySettings,
    LocalModelSettings,
    LoggingSettings,
    OidcSettings,
    PriceSettings,
    SearchProviderSettings,
    TimeoutSettings,
    TlsSettings,
    UsageSettings,
    WebFetchSettings,
    WebSearchSettings,
)
from byway.config.signinsettings import PushedSettings, SignInSettings
from byway.config.telemetrysettings import TelemetrySettings
from byway.config.tracingsettings import TracingSettings
from byway.config.validators import listen

__all__ = [
    "ApiKeysSettings",
    "BackendSettings",
    "BatchSettings",
    "Config",
    "ConfigError",
    "ConfigProblem",
    "FileSettings",
    "HealthCheckSettings",
    "KeySettings",
    "LocalModelSettings",
    "LoggingSettings",
    "MetricsSettings",
    "OidcSettings",
    "PriceSettings",
    "PushedSettings",
    "ResponseSettings",
    "S3Settings",
    "SearchProviderSettings",
    "ServerSettings",
    "ServerTlsSettings",
    "SignInSettings",
    "TelemetrySettings",
    "TimeoutSettings",
    "TlsSettings",
    "TracingSettings",
    "UsageSettings",
    "WebFetchSettings",
    "WebSearchSettings",
    "listen",
    "load",
    "load_keys",
    "static_changes",
]
