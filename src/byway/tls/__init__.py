"""Certificates of Byway's own listeners: a local authority, certificates of files, and their renewal while Byway serves."""
