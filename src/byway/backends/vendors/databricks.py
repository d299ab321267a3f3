"""Databricks Model Serving.

https://docs.databricks.com/aws/en/machine-learning/model-serving/query-chat-models (second-hand, seen 2026-11-29): OpenAI's
API below `/serving-endpoints`, without `/v1`; the name of a model is that of its endpoint.
"""

from __future__ import annotations

from typing import Final

from byway.backends.vendors.vendor import ThinkingRule, Vendor

VENDOR: Final = Vendor(
    "databricks",
    "Databricks",
    signup="https://docs.databricks.com/aws/en/dev-tools/auth/pat",
    group="inference",
    hosts=(".cloud.databricks.com", ".azuredatabricks.net", ".gcp.databricks.com"),
    prices="databricks",
    prefix="/serving-endpoints",
    complete_urls=r"/ai-gateway/mlflow/v1$",
    needs_models=True,
    self_hosted=False,
    sampling=("temperature", "top_p"),
    schema="plain",
    thinking=(ThinkingRule(r"gpt-oss", ("low", "medium", "high", "high", "high"), off={"reasoning_effort": "low"}),),
)
