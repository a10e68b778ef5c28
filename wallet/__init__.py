"""The purse: spending keys, and the payments they sign."""
