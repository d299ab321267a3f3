"""The arguments that set thinking in the templates of models, for the servers that pass them on."""

from __future__ import annotations

from typing import Final

#: `enable_thinking` in the templates of Qwen and GLM, `thinking` in those of DeepSeek and Granite. A template ignores unknown
#: arguments.
ON: Final = {"chat_template_kwargs": {"enable_thinking": True, "thinking": True}}
OFF: Final = {"chat_template_kwargs": {"enable_thinking": False, "thinking": False}}
