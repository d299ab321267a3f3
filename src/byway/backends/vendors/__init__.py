"""Vendors: the kinds of server that speak a known protocol, one module each."""

from byway.backends.vendors.registry import SPELLINGS, VENDORS, vendor_of_url
from byway.backends.vendors.vendor import (
    ALL_EFFORTS,
    EFFORTS,
    KnownModel,
    MessagesEndpoint,
    ProtocolName,
    ProtocolSetting,
    ThinkingRule,
    ToolIdForm,
    Vendor,
    api_root,
    enforces_strict_formats,
    known_model,
    serves_host,
    thinking_rule,
)

__all__ = [
    "ALL_EFFORTS",
    "EFFORTS",
    "SPELLINGS",
    "VENDORS",
    "KnownModel",
    "MessagesEndpoint",
    "ProtocolName",
    "ProtocolSetting",
    "ThinkingRule",
    "ToolIdForm",
    "Vendor",
    "api_root",
    "enforces_strict_formats",
    "known_model",
    "serves_host",
    "thinking_rule",
    "vendor_of_url",
]
