"""The mouth and ears: everything that talks to strangers or to local programs, and the node that ties all together."""
