"""The configuration: YAML to a frozen model, with every fault located."""
