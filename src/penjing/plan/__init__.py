"""One budget over all towers: cost tables, sensitivity, allocation."""
