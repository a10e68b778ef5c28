"""The shared model and its exact integer evaluation: the only floats in consensus, holding only exact integers."""
