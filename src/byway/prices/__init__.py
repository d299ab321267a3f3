"""What requests cost: prices of models from the config, from the data of genai-prices, or zero for local models."""
