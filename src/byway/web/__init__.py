"""Web fetch: fetches pages for models, with checks of URLs and addresses, and the blocks of the official tool."""
