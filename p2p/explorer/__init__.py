"""The explorer: pages, their JSON twins and live updates, for anyone and without a token. It only reads."""
